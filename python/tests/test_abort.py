"""A task that is cancelled while it runs stops, one way or another."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from worker_kit import BareClient, wait_until, yard

from taskyard import _codec
from taskyard import _wire as wire
from taskyard.worker import TaskAborted, current


def _started(path: str) -> None:
    Path(path).touch()


def _is_gone(pid: str) -> bool:
    return not Path(f"/proc/{pid}").exists()


def _sleep(path: str) -> None:
    _started(path)
    time.sleep(1000)


def _compute(path: str) -> None:
    _started(path)
    while True:
        pass


def _read_a_pipe(path: str) -> None:
    reader, _writer = os.pipe()
    _started(path)
    os.read(reader, 1)


@pytest.mark.parametrize("slots", ["1", "2"])
@pytest.mark.parametrize("function", [_sleep, _compute, _read_a_pipe])
def test_a_running_call_is_interrupted(function: Callable[[str], None], slots: str) -> None:
    with yard() as y, BareClient(y.folder) as client:
        y.start_worker("--slots", slots)
        pid = client.run(os.getpid).value
        for number in range(3):
            path = y.folder / f"started-{number}"
            task = client.submit(function, str(path))
            wait_until(path.exists, "the task has started")
            client.cancel(task)
            assert client.wait(task).code == wire.CANCELLED
            # The same process, which is none the worse for it.
            assert client.run(os.getpid).value == pid


def test_a_call_may_clean_up() -> None:
    def clean_up(path: str, done: str) -> None:
        try:
            _sleep(path)
        except TaskAborted:
            here = current()
            Path(done).write_text(str(here is not None and here.aborted))
            raise

    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        path, done = y.folder / "started", y.folder / "done"
        task = client.submit(clean_up, str(path), str(done))
        wait_until(path.exists, "the task has started")
        client.cancel(task)
        assert client.wait(task).code == wire.CANCELLED
        assert done.read_text() == "True"


@pytest.mark.parametrize("slots", ["1", "2"])
def test_who_does_not_stop_is_killed(slots: str) -> None:
    def stubborn(path: str) -> None:
        _started(path)
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(1000)

    with yard() as y, BareClient(y.folder) as client:
        y.start_worker("--abort-grace-s", "0.5", "--slots", slots)
        pid = client.run(os.getpid).value
        path = y.folder / "started"
        task = client.submit(stubborn, str(path))
        wait_until(path.exists, "the task has started")
        client.cancel(task)
        # To the controller its worker is lost.
        assert client.wait(task).code in (wire.CANCELLED, wire.LOST)
        assert client.run(os.getpid).value != pid
        assert "to stop a call, and has not" in y.log_of()


def test_who_does_not_hear_is_killed_when_it_was_given_up() -> None:
    """It holds the interpreter's lock: nobody in its process can act, and so the nanny asks the
    controller."""

    def deaf(path: str) -> None:
        _started(path)
        ctypes.PyDLL(None).sleep(1000)

    with yard("--abort-grace-ms", "4000") as y, BareClient(y.folder) as client:
        y.start_worker()
        pid = client.run(os.getpid).value
        path = y.folder / "started"
        task = client.submit(deaf, str(path))
        wait_until(path.exists, "the task has started")
        client.cancel(task)
        client.wait(task)
        assert client.run(os.getpid).value != pid
        assert "has given it up" in y.log_of()


def test_an_aborted_command_ends_with_all_that_it_started() -> None:
    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        pids = y.folder / "pids"
        shell = f"sleep 1000 & echo $! >{pids}; echo $$ >>{pids}; sleep 1000; true"
        task = client.submit_frames(_codec.encode_command(_codec.Command(shell=shell)))
        wait_until(lambda: pids.exists() and pids.read_text().count("\n") == 2, "it has started")
        client.cancel(task)
        assert client.wait(task).code == wire.CANCELLED
        for pid in pids.read_text().split():
            wait_until(functools.partial(_is_gone, pid), "all of it is gone")


def test_aborts_and_ends_that_cross_do_no_harm() -> None:
    """Whether the abort comes before, in or after the call: each task ends, and no other does."""
    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        pid = client.run(os.getpid).value
        for number in range(150):
            task = client.submit(time.sleep, 0.001 * (number % 12))
            client.pump(0.001 * (number % 7))
            client.cancel(task)
            assert client.wait(task).code in (wire.COMPLETED, wire.CANCELLED)
            assert client.run(abs, -number).value == number
        assert client.run(os.getpid).value == pid
