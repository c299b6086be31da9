"""A worker's process may die in any way: its task is told lost, and another process comes."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time

import pytest
from worker_kit import BareClient, kill, wait_until, yard

from taskyard import _wire as wire


def _hold_the_interpreter(seconds: float) -> str:
    # A call into C that does not give up the interpreter's lock.
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    return "done"


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: os._exit(3), "exited with 3"),
        (lambda: os._exit(0), "exited with 0"),
        (lambda: kill(os.getpid()), "signal 9 (SIGKILL)"),
        (lambda: ctypes.string_at(0), "signal 11 (SIGSEGV)"),
        (os.abort, "signal 6 (SIGABRT)"),
    ],
)
def test_a_process_that_ends_in_a_task_is_replaced(end: object, words: str) -> None:
    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        first = client.run(os.getpid).value
        outcome = client.run(end, attempts=1)  # type: ignore[arg-type]
        assert outcome.code == wire.LOST
        # Another process, and the same name.
        assert client.run_on("w", os.getpid).value != first
        assert words in y.log_of()
        assert "attempt 1 of a task" in y.log_of()


def test_kill_in_mid_task_runs_it_again() -> None:
    def slow_at_first(path: str) -> str:
        try:
            with open(path, "x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return "second"
        time.sleep(1000)
        return "first"

    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        path = y.folder / "started"
        task = client.submit(slow_at_first, str(path))
        wait_until(lambda: path.exists() and path.read_text(), "the task has started")
        kill(int(path.read_text()))
        outcome = client.wait(task)
        assert outcome.value == "second"
        assert (outcome.lost_attempts, outcome.header.attempt) == (1, 2)


def test_who_holds_the_interpreter_for_long_is_not_dead() -> None:
    # Heartbeats come often here, and ten seconds are many of them.
    options = ("--heartbeat-interval-ms", "200", "--heartbeat-timeout-ms", "1000")
    with yard(*options) as y, BareClient(y.folder) as client:
        y.start_worker()
        pid = client.run(os.getpid).value
        outcome = client.run(_hold_the_interpreter, 10.0)
        assert (outcome.value, outcome.lost_attempts) == ("done", 0)
        assert client.run(os.getpid).value == pid
        assert "killed" not in y.log_of()


def test_a_child_of_a_task_does_not_keep_a_dead_worker_alive() -> None:
    """It has inherited the connection: were it open there, nobody would notice the death."""

    def fork_and_die() -> None:
        if os.fork() == 0:
            time.sleep(1000)
        kill(os.getpid())

    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        client.run(os.getpid)
        outcome = client.wait(client.submit(fork_and_die, attempts=1), 30)
        assert outcome.code == wire.LOST


def test_a_fork_that_comes_back_from_the_task_is_not_the_worker() -> None:
    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        pid = client.run(os.getpid).value
        assert client.run(os.fork).value > 0
        for number in range(20):
            assert client.run(abs, -number).value == number
        assert client.run(os.getpid).value == pid


def _square(number: int) -> int:
    return number * number


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_in_a_task(method: str) -> None:
    def run(method: str) -> list[int]:
        with multiprocessing.get_context(method).Pool(2) as pool:
            return pool.map(abs, range(-10, 0))

    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        for _ in range(3):
            assert client.run(run, method).value == list(range(10, 0, -1))


def test_a_process_that_a_task_has_started_can_be_terminated() -> None:
    """The worker's own handling of SIGTERM must not be inherited."""

    def run() -> int | None:
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
        process.start()
        process.terminate()
        process.join(30)
        return process.exitcode

    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        assert client.run(run).value == -signal.SIGTERM


def test_a_worker_that_cannot_start_is_tried_again_less_and_less() -> None:
    with yard() as y:
        worker = y.start_worker(name="w")
        file = y.folder / "taskyard-worker.json"
        wait_until(lambda: "worker registered" in (y.folder / "controller.log").read_text(), "up")
        content = file.read_bytes()
        file.write_bytes(b"{}")
        (pid,) = _workers_of(worker.pid)
        kill(pid)
        wait_until(lambda: "starts in 0.4 s" in y.log_of(), "it waits longer")
        assert "taskyard-worker.json" in y.log_of()
        file.write_bytes(content)
        with BareClient(y.folder) as client:
            assert client.run(abs, -1).value == 1


def _workers_of(keeper: int) -> list[int]:
    from taskyard import _process

    (nanny,) = _process.children_of(keeper)
    return _process.children_of(nanny)


def test_several_processes_under_one_nanny() -> None:
    with yard() as y, BareClient(y.folder) as client:
        y.start_worker("--processes", "3", name="p")
        pids = {client.run_on(f"p-{number}", os.getpid).value for number in range(3)}
        assert len(pids) == 3


def test_terminating_is_polite_once() -> None:
    with yard() as y, BareClient(y.folder) as client:
        worker = y.start_worker()
        client.run(abs, 1)
        path = y.folder / "started"
        task = client.submit(_touch_and_sleep, str(path), 1.5)
        wait_until(path.exists, "the task has started")
        worker.terminate()
        outcome = client.wait(task)
        assert (outcome.value, outcome.lost_attempts) == ("slept", 0)
        assert worker.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_terminating_twice_is_at_once(number: int) -> None:
    with yard() as y, BareClient(y.folder) as client:
        worker = y.start_worker()
        path = y.folder / "started"
        task = client.submit(_touch_and_sleep, str(path), 1000, attempts=1)
        wait_until(path.exists, "the task has started")
        worker.send_signal(number)
        time.sleep(0.3)
        assert worker.poll() is None
        worker.send_signal(number)
        worker.wait(30)
        assert client.wait(task).code == wire.LOST


def _touch_and_sleep(path: str, seconds: float) -> str:
    with open(path, "x"):
        pass
    time.sleep(seconds)
    return "slept"


def test_without_a_nanny() -> None:
    with yard() as y, BareClient(y.folder) as client:
        worker = y.start_worker("--no-nanny")
        assert client.run(os.getpid).value == worker.pid
        worker.terminate()
        assert worker.wait(30) == 0


def test_a_name_that_is_taken_is_waited_for() -> None:
    with yard() as y, BareClient(y.folder) as client:
        first = y.start_worker(name="same")
        pid = client.run(os.getpid).value
        y.start_worker(name="same")
        wait_until(lambda: "another process has this name" in y.log_of("same"), "it is told")
        assert client.run(os.getpid).value == pid
        first.terminate()
        assert first.wait(30) == 0
        assert client.run_on("same", os.getpid).value != pid


def test_the_controller_may_be_restarted_while_tasks_run() -> None:
    def slow(path: str) -> str:
        with open(path, "x"):
            pass
        time.sleep(3)
        return "once"

    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        pid = client.run(os.getpid).value
        path = y.folder / "started"
        # At most once: only the result of the one execution can complete it.
        task = client.submit(slow, str(path), attempts=1)
        wait_until(path.exists, "the task has started")
        y.kill_controller()
        y.start_controller()
        assert client.wait(task).value == "once"
        assert client.run(os.getpid).value == pid


def test_results_of_before_a_restart_are_handed_in() -> None:
    """The task ends while no controller is there."""
    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        path = y.folder / "started"
        task = client.submit(_touch_and_sleep, str(path), 1.0, attempts=1)
        wait_until(path.exists, "the task has started")
        y.kill_controller()
        time.sleep(2)
        y.start_controller()
        assert client.wait(task).value == "slept"
