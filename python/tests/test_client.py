"""The client as an executor: against real controllers and workers."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskyard
from taskyard import _wire as wire
from taskyard.client import Client
from taskyard.cluster import Cluster
from taskyard.errors import ControllerLost, ForkedClient, NotSerializable, TaskCancelled
from taskyard.futures import Future

#: More than anything here needs on a busy machine; what takes longer hangs.
PATIENCE_S = 30.0


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.01)


@pytest.fixture
def busy(client: Client) -> Iterator[list[Future[None]]]:
    """Both workers are busy for as long as the test runs."""
    tasks = [client.submit(time.sleep, 600) for _ in range(2)]
    yield tasks
    for task in tasks:
        task._request_cancel()
    concurrent.futures.wait(tasks)


# --- submit and map


def test_submit_and_result(client: Client) -> None:
    future = client.submit(pow, 2, 10)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(PATIENCE_S) == 1024
    assert future.done()
    assert not future.cancelled()
    assert not future.cancel()
    assert future.exception() is None
    assert future.attempts == 1
    assert client.submit(dict, a=1).result(PATIENCE_S) == {"a": 1}


def test_an_executor_is_what_the_standard_library_takes_for_one(client: Client) -> None:
    assert isinstance(client, concurrent.futures.Executor)
    futures = [client.submit(pow, number, 2) for number in range(50)]
    done, open_ends = concurrent.futures.wait(futures, PATIENCE_S)
    assert not open_ends
    assert {future.result() for future in done} == {number**2 for number in range(50)}
    futures = [client.submit(pow, number, 2) for number in range(50)]
    got = [future.result() for future in concurrent.futures.as_completed(futures, PATIENCE_S)]
    assert sorted(got) == [number**2 for number in range(50)]


@pytest.mark.parametrize("chunksize", [1, 7, 1000])
def test_map_keeps_the_order(client: Client, chunksize: int) -> None:
    got = client.map(lambda x, y: (x, y), range(100), range(5, 100), chunksize=chunksize)
    assert list(got) == list(zip(range(95), range(5, 100), strict=True))


def test_map_in_time_or_not(client: Client) -> None:
    slow = client.map(time.sleep, [0, 600], timeout=1)
    assert next(slow) is None
    with pytest.raises(concurrent.futures.TimeoutError):
        next(slow)
    with pytest.raises(StopIteration):
        next(slow)
    with pytest.raises(ValueError, match="chunksize"):
        client.map(abs, [1], chunksize=0)


def test_a_map_that_nobody_wants_is_cancelled(client: Client) -> None:
    results = client.map(time.sleep, [600] * 10)
    tasks = list(client._link.session.tasks.values())
    assert len(tasks) == 10
    del results
    gc.collect()
    assert concurrent.futures.wait(tasks, PATIENCE_S).not_done == set()
    assert sum(task.cancelled() for task in tasks) >= 8


def test_as_completed_and_gather(client: Client) -> None:
    slow = client.submit(time.sleep, 0.5)
    fast = [client.submit(pow, number, 2) for number in range(10)]
    wanted: list[Future[Any]] = [slow, *fast, slow]
    order = list(taskyard.as_completed(wanted, PATIENCE_S))
    assert len(order) == 11
    assert set(order) == {slow, *fast}
    assert order[0] in fast
    assert taskyard.gather(fast) == client.gather(fast) == [number**2 for number in range(10)]
    assert list(taskyard.as_completed([])) == []
    never = client.submit(time.sleep, 600)
    with pytest.raises(TimeoutError):
        list(taskyard.as_completed([never], 0.05))
    never.cancel()


def test_futures_of_others_are_among_them(client: Client) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        futures: list[concurrent.futures.Future[int]] = [
            pool.submit(pow, 2, 3),
            client.submit(pow, 3, 2),
        ]
        assert {future.result() for future in taskyard.as_completed(futures)} == {8, 9}


def test_an_array_goes_there_and_back(client: Client) -> None:
    array = np.arange(1_000_000.0)
    got = client.submit(lambda x: x * 2, array).result(PATIENCE_S)
    assert (got == array * 2).all()
    got += 1
    data = os.urandom(3_000_000)
    assert client.submit(lambda x: x[::-1], data).result(PATIENCE_S) == data[::-1]


def test_what_cannot_be_sent_fails_at_once(client: Client) -> None:
    with pytest.raises(NotSerializable, match="argument"):
        client.submit(print, threading.Lock())
    future = client.submit(threading.Lock)
    with pytest.raises(NotSerializable, match="the result, a lock"):
        future.result(PATIENCE_S)


# --- views


def test_exactly_there(client: Client, cluster: Cluster) -> None:
    for name in cluster.workers:
        futures = [client.worker(name).submit(os.getpid) for _ in range(5)]
        assert len({future.result(PATIENCE_S) for future in futures}) == 1
        assert {future.worker for future in futures} == {name}
    assert client.worker(0).submit(pow, 2, 2).result(PATIENCE_S) == 4
    assert client.is_alive(0)
    assert client.is_alive("worker-0")
    assert not client.is_alive("nobody")


def test_everywhere(client: Client) -> None:
    multicast = client.all.submit(os.getpid)
    by_worker = multicast.result(PATIENCE_S)
    assert len(by_worker) == len(set(by_worker.values())) == 2
    assert multicast.results() == list(by_worker.values())
    parts = multicast.futures
    assert {name: part.result() for name, part in parts.items()} == by_worker
    assert all(part.worker == name for name, part in parts.items())


@pytest.mark.parametrize("chunksize", [1, 2, 5])
def test_a_map_everywhere(client: Client, chunksize: int) -> None:
    got = list(client.all.map(abs, [-1, -2, -3], chunksize=chunksize))
    assert got == [dict.fromkeys(("worker-0", "worker-1"), number) for number in (1, 2, 3)]


def test_everywhere_but_it_fails_on_one(client: Client) -> None:
    pids = client.all.submit(os.getpid).results(PATIENCE_S)

    def fails(pid: int) -> int:
        if os.getpid() == pid:
            raise ValueError("here")
        return 1

    multicast = client.all.submit(fails, pids[0])
    with pytest.raises(taskyard.MulticastError, match="1 of 2 workers") as caught:
        multicast.results(PATIENCE_S)
    assert [type(error) for error in caught.value.failed.values()] == [ValueError]
    assert sorted(part.exception() is None for part in multicast.futures.values()) == [False, True]


def test_a_view_is_shut_down_alone(client: Client, busy: list[Future[None]]) -> None:
    view = client.any
    other = client.submit(pow, 2, 2)
    futures = [view.submit(pow, 2, 3) for _ in range(5)]
    view.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    with pytest.raises(RuntimeError, match="after shutdown"):
        view.submit(pow, 2, 4)
    busy[0].cancel()
    assert other.result(PATIENCE_S) == 4
    with client.any as view:
        future = view.submit(pow, 2, 5)
    assert future.done()


def test_options_that_make_no_sense(client: Client) -> None:
    for options, said in [
        ({"priority": 8}, "priority is 8"),
        ({"retries": -1}, "retries is -1"),
        ({"attempts_on_loss": 0}, "1 at least"),
        ({"attempts_on_loss": 1.5}, "attempts_on_loss is 1.5"),
        ({"finish_within": 0}, "more than 0"),
        ({"color": "red"}, "unknown option: color"),
    ]:
        with pytest.raises((ValueError, TypeError), match=said):
            client.options(**options)  # type: ignore[arg-type]
    for place in (-1, 1 << 32):
        with pytest.raises(ValueError, match="a worker's place"):
            client.worker(place)


# --- cancelling and callbacks


def test_a_task_that_has_not_started_is_cancelled(client: Client, busy: list[Future[None]]) -> None:
    future = client.submit(pow, 2, 2)
    called: list[object] = []
    future.add_done_callback(called.append)
    assert future.cancel()
    assert future.cancelled()
    assert future.done()
    assert future.cancel()
    for ask in (future.result, future.exception):
        with pytest.raises(TaskCancelled) as caught:
            ask()
        assert not caught.value.started
        assert isinstance(caught.value, concurrent.futures.CancelledError)
    until(lambda: called == [future])


def test_a_task_that_runs_is_stopped_but_was_not_cancelled(client: Client, tmp_path: Path) -> None:
    def run(path: str) -> None:
        open(path, "w").close()
        time.sleep(600)

    future = client.submit(run, str(tmp_path / "runs"))
    until((tmp_path / "runs").exists)
    assert not future.cancel()
    with pytest.raises(TaskCancelled) as caught:
        future.result(PATIENCE_S)
    assert caught.value.started
    assert not future.cancelled()


def test_callbacks_do_not_hold_up_the_client(client: Client) -> None:
    gate, threads = threading.Event(), []

    def callback(future: Future[None]) -> None:
        threads.append(threading.current_thread().name)
        gate.wait(PATIENCE_S)

    future = client.submit(time.sleep, 0.5)
    future.add_done_callback(callback)
    assert [client.submit(pow, 2, number).result(PATIENCE_S) for number in range(20)][3] == 8
    until(lambda: threads == ["taskyard-callbacks"])
    gate.set()
    late: list[str] = []
    future.add_done_callback(lambda _: late.append(threading.current_thread().name))
    assert late == [threading.current_thread().name]


def test_a_callback_may_use_the_client(client: Client) -> None:
    results: list[int] = []
    done = threading.Event()

    def next_one(future: Future[int]) -> None:
        results.append(future.result())
        if len(results) < 50:
            client.submit(abs, len(results)).add_done_callback(next_one)
        else:
            results.append(client.submit(pow, 2, 10).result())
            done.set()

    client.submit(abs, 0).add_done_callback(next_one)
    assert done.wait(PATIENCE_S)
    assert results == [*range(50), 1024]


def test_a_callback_that_raises_is_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: object) -> None:
        raise ValueError("in a callback")

    client.submit(pow, 2, 2).add_done_callback(fails)
    until(lambda: "in a callback" in caplog.text)


def test_a_callback_that_ends_its_thread_does_not_end_the_others(client: Client) -> None:
    called = threading.Event()
    client.submit(pow, 2, 2).add_done_callback(lambda _: sys.exit(3))
    client.submit(pow, 2, 2).add_done_callback(lambda _: called.set())
    assert called.wait(PATIENCE_S)


def test_many_threads_share_a_client(client: Client) -> None:
    wrong: list[object] = []

    def work(mine: int) -> None:
        for number in range(100):
            if client.submit(pow, mine, number % 7).result(PATIENCE_S) != mine ** (number % 7):
                wrong.append((mine, number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert not wrong


def test_nothing_is_left_of_what_is_done(client: Client) -> None:
    futures = [client.submit(pow, 2, 2) for _ in range(200)]
    assert taskyard.gather(futures, PATIENCE_S) == [4] * 200
    session = client._link.session
    assert not session.tasks
    assert session.in_flight == 0
    # Before it falls silent it acknowledges.
    until(lambda: session.unacked == 0)
    assert all(future._request is None and future._outcome is None for future in futures)


# --- the end


def test_after_the_shutdown(cluster: Cluster) -> None:
    client = Client(cluster)
    view = client.any
    future = client.submit(time.sleep, 0.2)
    client.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="after shutdown"):
        client.submit(pow, 2, 2)
    with pytest.raises(RuntimeError, match="after shutdown"):
        view.submit(pow, 2, 2)
    assert future.result(PATIENCE_S) is None
    client._link._thread.join(PATIENCE_S)
    assert client._link.is_closed
    client.shutdown()
    client.close()


def test_the_end_of_a_with_waits(cluster: Cluster) -> None:
    with Client(cluster) as client:
        futures = [client.submit(time.sleep, 0.05) for _ in range(5)]
    assert all(future.result() is None for future in futures)


def test_an_exception_drops_what_is_left(cluster: Cluster) -> None:
    futures = []
    with contextlib.suppress(KeyError), Client(cluster) as client:
        futures += [client.submit(time.sleep, 600) for _ in range(5)]
        raise KeyError
    assert len(futures) == 5
    for future in futures:
        with pytest.raises(TaskCancelled):
            future.result()
    # The workers were told to stop.
    with Client(cluster) as client:
        assert client.submit(pow, 2, 2).result(PATIENCE_S) == 4


def test_cancel_futures_leaves_what_runs_alone(cluster: Cluster, tmp_path: Path) -> None:
    def run(path: str) -> str:
        open(path, "w").close()
        time.sleep(1)
        return "done"

    client = Client(cluster)
    running = [client.submit(run, str(tmp_path / name)) for name in ("a", "b")]
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    waiting = [client.submit(pow, 2, 2) for _ in range(100)]
    client.shutdown(cancel_futures=True)
    assert [future.result() for future in running] == ["done", "done"]
    assert all(future.cancelled() for future in waiting)


# --- controllers that go, and come back


def worker_of(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "taskyard.worker", "--connect", str(folder), "--no-nanny"]
    return subprocess.Popen(command)


@pytest.fixture
def workers() -> Iterator[Callable[[Path], subprocess.Popen[bytes]]]:
    """Starts workers."""
    started: list[subprocess.Popen[bytes]] = []

    def start(folder: Path) -> subprocess.Popen[bytes]:
        started.append(worker_of(folder))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
        worker.wait()


def test_a_restart_of_the_controller_goes_unnoticed(controller: Any, workers: Any) -> None:
    with Client(controller.folder) as client:
        before = [client.submit(pow, 2, number) for number in range(10)]
        controller.kill()
        meanwhile = [client.submit(pow, 3, number) for number in range(10)]
        controller.start()
        workers(controller.folder)
        assert taskyard.gather(before, PATIENCE_S) == [2**number for number in range(10)]
        assert taskyard.gather(meanwhile, PATIENCE_S) == [3**number for number in range(10)]


def test_new_keys_are_taken_from_the_file(controller_with: Any, workers: Any) -> None:
    controller = controller_with("--fresh-keys")
    with Client(controller.folder) as client:
        future = client.submit(pow, 2, 2)
        controller.kill()
        controller.start()
        workers(controller.folder)
        assert future.result(PATIENCE_S) == 4


def test_a_controller_that_is_gone_for_good(controller: Any) -> None:
    client = Client(controller.folder, lost_after=1.0)
    future = client.submit(pow, 2, 2)
    called = threading.Event()
    future.add_done_callback(lambda _: called.set())
    controller.kill()
    with pytest.raises(ControllerLost, match="nothing was heard") as caught:
        future.result(PATIENCE_S)
    assert isinstance(caught.value, concurrent.futures.BrokenExecutor)
    assert called.wait(PATIENCE_S)
    with pytest.raises(ControllerLost):
        client.submit(pow, 2, 2)
    client.shutdown()


def test_a_controller_that_never_was(tmp_path: Path, controller: Any) -> None:
    with pytest.raises(wire.ConnectionFileError):
        Client(tmp_path / "nothing.json")
    controller.stop()
    start = time.monotonic()
    with pytest.raises(ControllerLost, match="is it running"):
        Client(controller.folder, connect_timeout=0.3)
    assert time.monotonic() - start < PATIENCE_S


def test_too_many_clients_are_told(controller_with: Any) -> None:
    controller = controller_with("--clients-max", "1")
    with Client(controller.folder), pytest.raises(ControllerLost, match="too many"):
        Client(controller.folder)


def test_a_full_quota_makes_tasks_wait(controller_with: Any, workers: Any) -> None:
    controller = controller_with("--quota", "3")
    workers(controller.folder)
    with Client(controller.folder, backlog_max=5) as client:
        futures = [client.submit(pow, number, 2) for number in range(100)]
        assert taskyard.gather(futures, PATIENCE_S) == [number**2 for number in range(100)]


def test_a_controller_without_room_is_asked_again(controller_with: Any, workers: Any) -> None:
    controller = controller_with("--payload-bytes-max", "4000000", "--payload-max-bytes", "1000000")
    workers(controller.folder)
    with Client(controller.folder) as client:
        futures = [client.submit(len, os.urandom(500_000)) for _ in range(40)]
        assert taskyard.gather(futures, PATIENCE_S) == [500_000] * 40
        with pytest.raises(taskyard.Refused, match="--payload-max-bytes"):
            client.submit(len, os.urandom(2_000_000)).result(PATIENCE_S)
        assert client.submit(pow, 2, 2).result(PATIENCE_S) == 4


# --- programs of their own


def program(source: str, cluster: Cluster, *, interrupt_at: str = "") -> tuple[int, str]:
    """Runs a program that finds the cluster by itself; what it wrote, and how it ended."""
    environment = {**os.environ, "TASKYARD_CONNECT": str(cluster.client_connection)}
    command = [sys.executable, "-u", "-c", source]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = ""
        if interrupt_at:
            for line in process.stdout:
                said += line
                if interrupt_at in line:
                    time.sleep(0.2)
                    process.send_signal(signal.SIGINT)
                    break
        try:
            said += process.communicate(timeout=PATIENCE_S)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return process.returncode, said


def test_ctrl_c_ends_a_program_that_waits(cluster: Cluster) -> None:
    code, said = program(
        "from taskyard import Client\nimport time\n"
        "with Client() as client:\n"
        "    future = client.submit(time.sleep, 600)\n"
        "    print('waits')\n"
        "    future.result()\n",
        cluster,
        interrupt_at="waits",
    )
    assert code == -signal.SIGINT or code == 130, said
    assert "KeyboardInterrupt" in said


@pytest.mark.parametrize("ending", ["", "raise SystemExit(0)", "del client, future"])
def test_a_program_that_does_not_close_its_client_ends(cluster: Cluster, ending: str) -> None:
    code, said = program(
        "from taskyard import Client\nimport time\n"
        "client = Client()\n"
        "print(client.submit(pow, 2, 2).result())\n"
        f"future = client.submit(time.sleep, 600)\n{ending}\n",
        cluster,
    )
    assert (code, said) == (0, "4\n")


def test_a_forked_child_cannot_use_it(client: Client) -> None:
    done = client.submit(pow, 2, 3)
    assert done.result(PATIENCE_S) == 8
    pending = client.submit(time.sleep, 0.2)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert done.result() == 8
            for use in (
                lambda: client.submit(pow, 2, 2),
                pending.result,
                lambda: concurrent.futures.wait([pending], 0.1) and pending.result(),
            ):
                try:
                    use()
                except ForkedClient:
                    continue
                os._exit(2)
            client.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pending.result(PATIENCE_S) is None


def test_signals_that_raise_at_any_point_lose_nothing(cluster: Cluster) -> None:
    """A handler that raises interrupts the client wherever it is; all that has a future still has
    its outcome, and the client goes on."""
    code, said = program(
        "import random, signal, time\n"
        "from taskyard import Client\n"
        "class Poke(BaseException): pass\n"
        "def poke(*_):\n"
        "    global armed\n"
        "    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 2e-3))\n"
        "    if armed and time.monotonic() < end:\n"
        "        armed = False\n"
        "        raise Poke\n"
        "signal.signal(signal.SIGALRM, poke)\n"
        "pokes, futures, armed, end = 0, [], False, time.monotonic() + 5\n"
        "with Client() as client:\n"
        "    signal.setitimer(signal.ITIMER_REAL, 1e-3)\n"
        "    while time.monotonic() < end:\n"
        "        try:\n"
        "            armed = True\n"
        "            while time.monotonic() < end:\n"
        "                futures.append(client.submit(abs, len(futures)))\n"
        "                futures[-1].result(60)\n"
        "        except Poke:\n"
        "            pokes += 1\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "    results = [future.result(60) for future in futures]\n"
        "    assert all(isinstance(result, int) for result in results)\n"
        "    assert client.submit(pow, 2, 2).result(60) == 4\n"
        "    assert pokes > 20, pokes\n"
        "    print('good', len(results) > 20)\n",
        cluster,
    )
    assert code == 0, said
    # A finalizer that was interrupted is reported, and does no harm.
    assert said.endswith("good True\n"), said


def test_the_import_is_lazy() -> None:
    program = (
        "import sys, taskyard\n"
        "assert not {'zmq', 'cloudpickle', 'numpy', 'asyncio'} & set(sys.modules)\n"
        "taskyard.Client\n"
        "assert not {'cloudpickle', 'numpy', 'asyncio'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
