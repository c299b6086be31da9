"""A cluster of one's own: there in a moment, and gone with the program."""

from __future__ import annotations

import functools
import os
import stat
import sys
import threading
import time
from pathlib import Path

import pytest
from worker_kit import BareClient, kill, python, wait_until

from taskyard import Client, _process
from taskyard.cluster import Cluster, ClusterError


def _is_gone(pid: int) -> bool:
    return not _process.is_running(pid)


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_a_client_and_a_cluster(transport: str) -> None:
    with Cluster(workers=2, transport=transport) as cluster, Client(cluster) as client:  # type: ignore[arg-type]
        assert [f.result() for f in [client.submit(pow, n, 2) for n in range(20)]] == [
            n * n for n in range(20)
        ]
        assert set(cluster.names) == {"worker-0", "worker-1"}
        pids = set(cluster.workers.values())
        assert {client.submit(os.getpid).result() for _ in range(50)} <= pids
        assert stat.S_IMODE(cluster.folder.stat().st_mode) == 0o700
        assert all(_process.is_running(pid) for pid in (*pids, *cluster.pids))
    assert not cluster.folder.exists()
    for pid in pids:
        wait_until(functools.partial(_is_gone, pid), "the workers are gone")
    assert cluster.names == []
    cluster.close()


def test_names_and_labels() -> None:
    labels = {"a": ["gpu"], "b": ["gpu", "big"]}
    with Cluster(names=["a", "b", "c"], labels=labels) as cluster:
        assert set(cluster.names) == {"a", "b", "c"}
        with BareClient(cluster.folder) as client:
            pids = cluster.workers
            for name in "abc":
                assert client.run(os.getpid, worker=name).value == pids[name]
            assert client.run(os.getpid, label="big").value == pids["b"]
            assert client.run(os.getpid, label="gpu").value in (pids["a"], pids["b"])


@pytest.mark.parametrize("prefetch", [0, 4])
def test_a_worker_leaves_although_there_is_more_to_do(prefetch: int) -> None:
    with Cluster(workers=2, prefetch=prefetch) as cluster, Client(cluster) as client:
        tasks = [client.submit(time.sleep, 0.01) for _ in range(20)]
        cluster.drain_worker("worker-0")

        def has_left_a_busy_cluster() -> bool:
            # Always more than the two can have at once.
            waiting = sum(not task.done() for task in tasks)
            tasks.extend(client.submit(time.sleep, 0.01) for _ in range(50 - waiting))
            return "worker-0" not in cluster.names

        wait_until(has_left_a_busy_cluster, "the worker has left")
        assert [task.result() for task in tasks] == [None] * len(tasks)


def test_workers_come_and_go() -> None:
    with Cluster(workers=1) as cluster, BareClient(cluster.folder) as client:
        cluster.scale(3)
        cluster.wait_for_workers(3)
        assert len(cluster.names) == 3
        assert client.run_on("worker-2", abs, -2).value == 2
        cluster.scale(1)
        wait_until(lambda: cluster.names == ["worker-0"], "two have left")
        assert client.run(abs, -1).value == 1
        assert cluster.add_worker("special") == "special"
        assert client.run_on("special", abs, -3).value == 3
        with pytest.raises(TimeoutError, match="2 of 3 workers"):
            cluster.wait_for_workers(3, timeout_s=0.2)


def test_a_worker_that_is_killed_is_replaced() -> None:
    with Cluster(workers=1) as cluster, BareClient(cluster.folder) as client:
        (pid,) = cluster.workers.values()
        kill(pid)
        assert client.run_on("worker-0", os.getpid).value != pid


def test_workers_find_the_modules_of_the_program(tmp_path: Path) -> None:
    (tmp_path / "a_module_of_mine.py").write_text("def answer():\n    return 42\n")
    sys.path.insert(0, str(tmp_path))
    try:
        import a_module_of_mine  # type: ignore[import-not-found]

        with Cluster(workers=1) as cluster, BareClient(cluster.folder) as client:
            assert client.run(a_module_of_mine.answer).value == 42
    finally:
        sys.path.remove(str(tmp_path))


def test_what_cannot_be_started_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match=r"controller ended with 2.*no-such-option") as info:
        Cluster(workers=1, controller_options=["--no-such-option"])
    assert "\n" not in str(info.value)
    monkeypatch.setenv(_process.BINARY_VARIABLE, "/no/such/program")
    with pytest.raises(_process.BinaryNotFound, match="/no/such/program"):
        Cluster(workers=1)
    with pytest.raises(ValueError, match="2 workers, and 1 names"):
        Cluster(workers=2, names=["a"])
    with pytest.raises(ValueError, match="a name of its own"):
        Cluster(names=["a", "a"])


def test_an_interpreter_that_cannot_run_workers() -> None:
    with pytest.raises(ClusterError, match="cannot be started"):
        Cluster(workers=1, python="/no/such/python")
    with pytest.raises(ClusterError, match="workers ended with"):
        Cluster(workers=1, python="/bin/false")


def test_the_controller_dies() -> None:
    with Cluster(workers=1) as cluster:
        kill(cluster.pids[0])
        with pytest.raises(ClusterError, match="controller ended with -9"):
            cluster.wait_for_workers(2, timeout_s=30)


def test_closing_does_not_wait_for_what_runs() -> None:
    with Cluster(workers=1) as cluster, BareClient(cluster.folder) as client:
        client.submit(time.sleep, 1000)
        client.pump(0.2)
        worker = cluster.workers["worker-0"]
    assert not _process.is_running(worker)


def test_several_at_once_and_in_threads() -> None:
    answers = []

    def use() -> None:
        with Cluster(workers=1) as cluster, BareClient(cluster.folder) as client:
            answers.append(client.run(pow, 2, 4).value)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [16, 16, 16]


_SCRIPT = """
import sys
from taskyard import Client, Cluster
def simulate(seed):
    return seed * 2
with Cluster(workers=2) as cluster, Client(cluster) as client:
    print(sum(future.result() for future in [client.submit(simulate, n) for n in range(100)]))
"""


def test_a_whole_script(tmp_path: Path) -> None:
    from worker_kit import Orphans

    orphans = Orphans()
    program = python(_SCRIPT, orphans)
    said, complained = program.communicate(timeout=60)
    assert said == b"9900\n", complained.decode()
    assert complained == b""
    orphans.expect_none()
