"""Nothing is left behind, whatever is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from worker_kit import BareClient, Orphans, Yard, kill, python, wait_until, yard

from taskyard import _codec, _process


def test_the_search_finds_what_is_there() -> None:
    """A canary: a daemon, which nobody is the parent of any more, is found."""
    orphans = Orphans()
    daemon = "import os, time; os.fork() and os._exit(0); os.setsid(); time.sleep(1000)"
    process = python(daemon, orphans)
    assert process.wait(30) == 0
    try:
        assert len(orphans.find()) == 1
        with pytest.raises(AssertionError, match="left behind"):
            orphans.expect_none(patience_s=0.2)
    finally:
        orphans.kill()
    orphans.expect_none()


def _family(path: str) -> None:
    """A task with children of all kinds: forks, programs, and daemons of both."""
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,)).start()
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    subprocess.Popen(["sh", "-c", "setsid sleep 1000 & setsid sleep 1000 &"]).wait()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(1000)
        os._exit(0)
    with open(path, "x"):
        pass
    time.sleep(1000)


def _start_family(y: Yard, client: BareClient) -> None:
    path = y.folder / "family"
    client.submit(_family, str(path), attempts=1)
    wait_until(path.exists, "the family is there")


def _start_command(y: Yard, client: BareClient) -> None:
    path = y.folder / "command"
    shell = f"sleep 1000 & setsid sleep 1000 & touch {path}; sleep 1000"
    client.submit_frames(_codec.encode_command(_codec.Command(shell=shell)), attempts=1)
    wait_until(path.exists, "the command has started")


def _worker(keeper: int) -> int:
    """The first that the nanny has started, and not a daemon that it has adopted."""
    nanny = _nanny(keeper)
    (worker,) = (pid for pid in _process.children_of(nanny) if _is_taskyard(pid))
    return worker


def _nanny(keeper: int) -> int:
    (nanny,) = _process.children_of(keeper)
    return nanny


def _is_taskyard(pid: int) -> bool:
    line = Path(f"/proc/{pid}/cmdline").read_bytes()
    return b"taskyard.worker" in line and _process.session_of(pid) == pid


_VICTIMS: dict[str, Callable[[int], int]] = {
    "keeper": lambda keeper: keeper,
    "nanny": _nanny,
}


@pytest.mark.parametrize("start", [_start_family, _start_command])
@pytest.mark.parametrize("victim", _VICTIMS)
def test_keeper_or_nanny_killed(victim: str, start: Callable[[Yard, BareClient], None]) -> None:
    with yard() as y, BareClient(y.folder) as client:
        worker = y.start_worker()
        client.run(abs, 1)
        start(y, client)
        kill(_VICTIMS[victim](worker.pid))
        worker.wait(30)
        wait_until(lambda: y.orphans.find() == [y.controller.pid], "all but the controller is gone")


@pytest.mark.parametrize("start", [_start_family, _start_command])
def test_worker_killed(start: Callable[[Yard, BareClient], None]) -> None:
    with yard() as y, BareClient(y.folder) as client:
        worker = y.start_worker()
        client.run(abs, 1)
        start(y, client)
        kill(_worker(worker.pid))
        client.run_on("w", abs, 1)
        # A fork that has made itself a daemon bears no mark; it goes with the nanny at the latest.
        wait_until(lambda: len(y.orphans.find()) <= 5, "what the task had started is gone")
        worker.terminate()
        assert worker.wait(30) == 0
        wait_until(lambda: y.orphans.find() == [y.controller.pid], "the daemon is gone, too")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_at_an_idle_worker(number: int) -> None:
    with yard() as y, BareClient(y.folder) as client:
        worker = y.start_worker()
        client.run(abs, 1)
        worker.send_signal(number)
        assert worker.wait(30) == 0
        assert y.orphans.find() == [y.controller.pid]


def test_ctrl_c_twice_in_the_terminals_group() -> None:
    """A terminal sends it to the whole foreground group, not to one process."""
    with yard() as y, BareClient(y.folder) as client:
        command = [
            sys.executable, "-m", "taskyard.worker", "--connect", str(y.folder), "--name", "t",
        ]  # fmt: skip
        worker = subprocess.Popen(command, env=y.orphans.environment, start_new_session=True)
        client.run(abs, 1)
        _start_family(y, client)
        os.killpg(worker.pid, signal.SIGINT)
        time.sleep(0.5)
        assert worker.poll() is None
        os.killpg(worker.pid, signal.SIGINT)
        worker.wait(30)
        wait_until(lambda: y.orphans.find() == [y.controller.pid], "all of it is gone")


_CLUSTER = """
import os, signal, sys, time
sys.path[:0] = sys.argv[1].split(os.pathsep)
from taskyard.cluster import Cluster
from worker_kit import BareClient
import test_orphans

cluster = Cluster(workers=2)
with BareClient(cluster.folder) as client:
    client.submit(test_orphans._family, str(cluster.folder / "family"))
    while not (cluster.folder / "family").exists():
        time.sleep(0.01)
print("ready", flush=True)
"""

_ENDS = {
    "falls off the end": "",
    "sys.exit": "sys.exit(3)",
    "exception": "raise ValueError('the reason')",
    "os._exit": "os._exit(4)",
    "kill -9": "os.kill(os.getpid(), signal.SIGKILL)",
    "ctrl-c": "os.kill(os.getpid(), signal.SIGINT); time.sleep(1000)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(1000)",
    "with a fork that lives on": "os.fork() or time.sleep(3); os._exit(0)",
}


@pytest.mark.parametrize("end", _ENDS)
def test_a_program_with_a_cluster_ends(end: str) -> None:
    orphans = Orphans()
    program = python(_CLUSTER + _ENDS[end], orphans, os.pathsep.join(sys.path))
    assert program.stdout is not None
    assert program.stderr is not None
    try:
        said = program.stdout.readline()
        assert said == b"ready\n", program.stderr.read().decode()
        assert len(orphans.find()) > 6
        program.wait(60)
        orphans.expect_none()
    finally:
        orphans.kill()
        program.stdout.close()
        program.stderr.close()
