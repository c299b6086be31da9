"""What a task prints comes back to whoever submitted it, while it runs, and never holds it up."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from worker_kit import BareClient, Yard, wait_until, yard

from taskyard import _codec
from taskyard import _wire as wire


def _speaks(y: Yard, client: BareClient) -> None:
    """Skips if this controller does not pass output on."""
    y.start_worker()
    if client.run(print, "hello").stdout != b"hello\n":
        pytest.skip("this controller passes no output on")


def test_prints_come_back_before_the_result() -> None:
    def prints() -> int:
        print("to stdout")
        print("to stderr", file=sys.stderr)
        sys.stdout.write("without an end")
        return 1

    with yard() as y, BareClient(y.folder) as client:
        _speaks(y, client)
        outcome = client.run(prints)
        assert outcome.value == 1
        assert outcome.stdout == b"to stdout\nwithout an end"
        assert outcome.stderr == b"to stderr\n"
        # And nothing of one is the next one's.
        assert client.run(abs, 1).stdout == b""


def test_c_code_and_child_processes_print_too() -> None:
    def prints() -> None:
        libc = ctypes.CDLL(None)
        libc.printf(b"printf\n")
        libc.printf(b"without an end,")
        subprocess.run("echo child; echo child-err >&2", shell=True, check=True)
        os.write(2, b"write\n")

    with yard() as y, BareClient(y.folder) as client:
        _speaks(y, client)
        outcome = client.run(prints)
        assert outcome.code == wire.COMPLETED
        assert sorted(outcome.stdout) == sorted(b"printf\nwithout an end,child\n")
        assert outcome.stderr == b"child-err\nwrite\n"


def test_output_is_live() -> None:
    def prints(path: str) -> None:
        print("first", flush=True)
        while not Path(path).exists():
            time.sleep(0.01)
        print("last")

    with yard() as y, BareClient(y.folder) as client:
        _speaks(y, client)
        path = y.folder / "go on"
        task = client.submit(prints, str(path))
        client.wait_for_output(task, b"first\n")
        path.touch()
        assert client.wait(task).stdout == b"first\nlast\n"


def test_a_command_prints_live() -> None:
    with yard() as y, BareClient(y.folder) as client:
        _speaks(y, client)
        path = y.folder / "go on"
        shell = f'echo first; while ! test -e "{path}"; do sleep 0.02; done; echo last'
        task = client.submit_frames(_codec.encode_command(_codec.Command(shell=shell)))
        client.wait_for_output(task, b"first\n")
        path.touch()
        outcome = client.wait(task)
        assert outcome.stdout == b"first\nlast\n"
        assert _codec.decode_command_result(outcome.frames).stdout == b"first\nlast\n"


def test_too_much_is_lost_and_counted() -> None:
    """Printing goes on at its own pace; what is missing is told."""
    total = 100 << 20

    def prints(total: int) -> int:
        line = b"x" * 65535 + b"\n"
        for _ in range(total // len(line)):
            os.write(1, line)
        return total // len(line) * len(line)

    with yard() as y, BareClient(y.folder) as client:
        _speaks(y, client)
        outcome = client.run(prints, total)
        assert outcome.value == total
        # By the worker, or on the way by the controller; nothing is told twice.
        assert outcome.dropped > 0 or outcome.missed > 0
        assert len(outcome.stdout) + outcome.dropped <= total


def test_c_code_that_holds_the_interpreter_may_print() -> None:
    """Nobody in its process can read what it prints; it must not wait for that."""

    def prints() -> int:
        libc = ctypes.PyDLL(None)
        block = b"y" * 65536
        return sum(libc.write(1, block, len(block)) for _ in range(64))

    def prints_in_one_call() -> int:
        libc = ctypes.PyDLL(None)
        block = b"y" * (4 << 20)
        return int(libc.write(1, block, len(block)))

    with yard() as y, BareClient(y.folder) as client:
        _speaks(y, client)
        assert client.run(prints).value == 4 << 20
        outcome = client.run(prints_in_one_call)
        assert outcome.value == 4 << 20
        # By the worker, or on the way by the controller; nothing is counted that came.
        assert outcome.dropped > 0 or outcome.missed > 0
        assert outcome.dropped + len(outcome.stdout) <= 4 << 20


def test_what_is_printed_between_tasks_is_nobodys() -> None:
    def leaves_a_thread() -> None:
        def later() -> None:
            time.sleep(0.5)
            print("too late")

        threading.Thread(target=later).start()

    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        assert client.run(leaves_a_thread).stdout == b""
        wait_until(lambda: "too late" in y.log_of(), "it is in the worker's log")
        assert client.run(abs, 1).stdout == b""


def test_with_slots_each_has_its_own() -> None:
    def prints(text: str) -> None:
        for _ in range(20):
            print(text)
            time.sleep(0.01)

    with yard() as y, BareClient(y.folder) as client:
        y.start_worker("--slots", "3")
        if client.run(print, "hello").stdout != b"hello\n":
            pytest.skip("this controller passes no output on")
        tasks = {text: client.submit(prints, text) for text in "abc"}
        for text, task in tasks.items():
            assert client.wait(task).stdout == f"{text}\n".encode() * 20


def test_the_last_words_of_a_process_are_kept() -> None:
    def crashes() -> None:
        os.write(2, b"these were its last words\n")
        ctypes.string_at(0)

    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        outcome = client.run(crashes, attempts=1)
        assert outcome.code == wire.LOST

        def are_told() -> bool:
            # To the submitter, if there was still time for it; else to whoever looks after it.
            return "last words" in y.log_of() + outcome.stderr.decode()

        # And where it was.
        wait_until(lambda: "Segmentation fault" in y.log_of(), "it says where it was")
        if client.run(print, "hello").stdout:
            wait_until(are_told, "the last words are told")
