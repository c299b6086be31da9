"""A worker runs what it is given, whatever that is, and says how it went."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from worker_kit import BareClient, wait_until, yard

from taskyard import _codec
from taskyard import _wire as wire
from taskyard.worker import current


def test_calls_end_to_end() -> None:
    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        assert client.run(pow, 2, 10).value == 1024
        tasks = [client.submit(pow, number, 2) for number in range(500)]
        assert [client.wait(task).value for task in tasks] == [n * n for n in range(500)]
        error = client.run(int, "x").error
        assert isinstance(error, ValueError)
        assert "invalid literal" in str(error)
        # By value: nothing that the worker could import.
        assert client.run(lambda x: x + 1, 41).value == 42


def test_a_function_runs_on_the_main_thread() -> None:
    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        assert client.run(lambda: threading.current_thread() is threading.main_thread()).value
        # Only the main thread may do that.
        assert client.run(lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN) is not None).value


@pytest.mark.parametrize("prefetch", ["0", "4"])
def test_tasks_in_advance(prefetch: str) -> None:
    with yard() as y, BareClient(y.folder) as client:
        for name in ("a", "b"):
            y.start_worker("--prefetch", prefetch, name=name)
        tasks = [client.submit(time.sleep, 0.02 if n % 9 == 0 else 0) for n in range(300)]
        for task in tasks:
            assert client.wait(task).code == wire.COMPLETED
        # A worker that computes is asked for a task back while another is idle.
        long = client.submit(time.sleep, 1.0)
        short = [client.submit(abs, -n) for n in range(10)]
        for n, task in enumerate(short):
            assert client.wait(task).value == n
        assert client.wait(long).code == wire.COMPLETED


def test_large_results_and_arguments_travel_out_of_band() -> None:
    numpy = pytest.importorskip("numpy")
    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        array = numpy.arange(400_000)
        task = client.submit(numpy.square, array)
        outcome = client.wait(task)
        assert (outcome.value == array * array).all()
        assert len(outcome.frames) == 2


def test_a_result_that_is_too_large_names_the_sizes() -> None:
    with yard("--payload-max-bytes", "100000") as y, BareClient(y.folder) as client:
        y.start_worker()
        error = client.run(bytes, 200_000).error
        assert "100000" in str(error)
        assert "2000" in str(error)
        assert client.run(pow, 2, 2).value == 4


def test_exceptions_that_cannot_be_pickled_are_told() -> None:
    def fails() -> None:
        class Odd(Exception):
            def __reduce__(self) -> str:
                raise TypeError("not me")

        raise Odd("the reason")

    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        error = client.run(fails).error
        assert "the reason" in str(error)


@pytest.mark.parametrize("leave", [sys.exit, lambda: (_ for _ in ()).throw(KeyboardInterrupt)])
def test_a_function_cannot_end_the_worker(leave: object) -> None:
    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        pid = client.run(os.getpid).value
        task = client.submit(lambda: next(leave()) if leave is not sys.exit else sys.exit(3))  # type: ignore[operator]
        assert client.wait(task).code == wire.FAILED
        assert client.run(os.getpid).value == pid


def test_a_payload_without_a_word_fails_with_one() -> None:
    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        outcome = client.wait(client.submit_frames([b"what is this?"]))
        assert "no word for" in str(outcome.error)
        outcome = client.wait(client.submit_frames([b"PY1\0\xff\xff\xff\xffgarbage"]))
        assert outcome.code == wire.FAILED
        assert client.run(pow, 2, 2).value == 4


def test_current_tells_who_and_which() -> None:
    def ask() -> tuple[str, int, bool]:
        here = current()
        assert here is not None
        return here.worker, here.attempt, here.aborted

    with yard() as y, BareClient(y.folder) as client:
        y.start_worker(name="gpu-7")
        assert client.run(ask).value == ("gpu-7", 1, False)
        assert current() is None


def test_slots_run_at_once() -> None:
    with yard() as y, BareClient(y.folder) as client:
        y.start_worker("--slots", "3")
        barrier = [client.submit(_meet, 3) for _ in range(3)]
        assert {client.wait(task).value for task in barrier} == {"met"}
        tasks = [client.submit(pow, n, 2) for n in range(300)]
        assert [client.wait(task).value for task in tasks] == [n * n for n in range(300)]
        # One that takes long does not hold up the others.
        long = client.submit(time.sleep, 2)
        assert [client.run(pow, n, 2).value for n in range(20)] == [n * n for n in range(20)]
        assert client.wait(long).code == wire.COMPLETED


def _meet(count: int) -> str:
    import builtins

    barrier = builtins.__dict__.setdefault("the_barrier", threading.Barrier(count))
    barrier.wait(30)
    return "met"


def test_commands() -> None:
    def run(client: BareClient, **command: object) -> tuple[int, _codec.CommandResult]:
        frames = _codec.encode_command(_codec.Command(**command))  # type: ignore[arg-type]
        outcome = client.wait(client.submit_frames(frames))
        return outcome.code, _codec.decode_command_result(outcome.frames)

    with yard() as y, BareClient(y.folder) as client:
        y.start_worker()
        code, result = run(client, argv=["echo", "a b"])
        assert (code, result.code, result.stdout) == (wire.COMPLETED, 0, b"a b\n")
        code, result = run(client, shell="echo out; echo err >&2; exit 3")
        assert (code, result.code) == (wire.FAILED, 3)
        assert (result.stdout, result.stderr) == (b"out\n", b"err\n")
        code, result = run(client, shell="kill -9 $$")
        assert (code, result.code, result.signal) == (wire.FAILED, None, 9)
        code, result = run(client, shell='pwd; echo "$X"', cwd="/", env={"X": "there"})
        assert result.stdout == b"/\nthere\n"
        code, result = run(client, shell="head -c 20000000 /dev/zero")
        assert (code, result.stdout_truncated) == (wire.COMPLETED, True)
        assert len(result.stdout) == _codec.COMMAND_OUTPUT_BYTES_MAX
        # What it leaves running ends with it, and is not waited for.
        code, result = run(client, shell="sleep 1000 & echo $!")
        assert code == wire.COMPLETED
        pid = int(result.stdout)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the sleeper is gone")
        outcome = client.wait(
            client.submit_frames(_codec.encode_command(_codec.Command(argv=["/no/such"])))
        )
        assert isinstance(outcome.error, FileNotFoundError)


def test_wrong_options_are_told_in_a_line() -> None:
    with yard() as y:
        worker = y.start_worker(name="x", TASKYARD_CONNECT="")
        worker.terminate()
        worker.wait()
        nowhere = y.start_worker("--connect", "/no/such/file.json", name="y")
        assert nowhere.wait(30) == 2
        assert "/no/such/file.json" in y.log_of("y")
