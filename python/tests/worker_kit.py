"""What the tests of workers and clusters share: a bare client, and a search for orphans.

The client speaks the protocol itself, so that these tests judge the worker and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq

from taskyard import _codec, _process
from taskyard import _wire as wire

# A bound for what must come at all; nothing here is about speed.
PATIENCE_S = 60.0
_MARK = "TASKYARD_TEST_MARK"


class Orphans:
    """Finds the processes that were started under a mark of its own."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        # Workers shall find the functions of these tests.
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        self.environment = {**os.environ, _MARK: self.mark, "PYTHONPATH": path}

    def find(self) -> list[int]:
        """Those that are there now, this process aside."""
        entry = f"{_MARK}={self.mark}"
        return [
            pid
            for pid in _process.all_pids()
            if pid != os.getpid()
            and _process.environment_has(pid, entry)
            and _process.is_running(pid)
        ]

    def expect_none(self, patience_s: float = 20.0) -> None:
        """Waits until there are none; fails if that does not come to pass."""
        until = time.monotonic() + patience_s
        while (left := self.find()) and time.monotonic() < until:
            time.sleep(0.02)
        told = [_command_line(pid) for pid in left]
        assert not left, f"left behind: {told}"

    def kill(self) -> None:
        """Clears up after a test that has failed."""
        for pid in self.find():
            _process.kill_quietly(pid)


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return str(pid)


def wait_until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Waits until it holds, and gives what it gave."""
    until = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < until, f"waited in vain: {what}"
        time.sleep(0.01)
    return found


class Yard:
    """A controller in a folder of its own, and the workers that a test starts."""

    def __init__(self, *options: str, transport: str = "ipc") -> None:
        self.orphans = Orphans()
        self.folder = Path(tempfile.mkdtemp(prefix="taskyard-test-"))
        self._options = options
        self._transport = transport
        self._started: list[subprocess.Popen[Any]] = []
        self.controller = self.start_controller()

    def start_controller(self) -> subprocess.Popen[bytes]:
        """Starts it (again), and waits until it listens."""
        ends = [f"ipc://{self.folder}/{side}.sock" for side in ("clients", "workers")]
        if self._transport == "tcp":
            ends = ["tcp://127.0.0.1:*"] * 2
        command = [
            str(_process.find_binary()), "controller", "--clients", ends[0], "--workers", ends[1],
            "--connection-dir", str(self.folder), "--exit-with-stdin", *self._options,
        ]  # fmt: skip
        with (self.folder / "controller.log").open("ab") as log:
            self.controller = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.orphans.environment,
            )
        assert self.controller.stdout is not None
        for line in self.controller.stdout:
            if line.startswith(b"connection "):
                return self.controller
        raise AssertionError((self.folder / "controller.log").read_text())

    def kill_controller(self) -> None:
        """Without a word."""
        self.controller.kill()
        self.controller.wait()

    def start_worker(
        self, *options: str, name: str = "w", **environment: str
    ) -> subprocess.Popen[bytes]:
        """Starts one (a keeper, with a nanny and a worker); does not wait for it."""
        command = [
            sys.executable, "-m", "taskyard.worker", "--connect", str(self.folder),
            "--name", name, *options,
        ]  # fmt: skip
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            process = subprocess.Popen(
                command, stderr=log, env={**self.orphans.environment, **environment}
            )
        self._started.append(process)
        return process

    def log_of(self, name: str = "w") -> str:
        """What a worker's processes have said."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        """Ends all of it politely, and fails if something is left."""
        try:
            for process in self._started:
                process.terminate()
            for process in self._started:
                process.wait(PATIENCE_S)
            if self.controller.stdin:
                self.controller.stdin.close()
            self.controller.wait(PATIENCE_S)
            self.orphans.expect_none()
        finally:
            self.orphans.kill()


@contextlib.contextmanager
def yard(*options: str, transport: str = "ipc") -> Iterator[Yard]:
    """A controller for a test; afterwards nothing may be left of it."""
    made = Yard(*options, transport=transport)
    try:
        yield made
    except BaseException:
        made.orphans.kill()
        for log in made.folder.glob("*.log"):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")
        raise
    made.close()


@dataclass
class Outcome:
    """How a task ended, and what was told of it before."""

    code: int
    header: wire.Header
    frames: list[Any]
    lost_attempts: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    # Bytes of output that the worker says it has dropped.
    dropped: int = 0
    # Pieces of it that the controller has.
    missed: int = 0

    @property
    def value(self) -> Any:
        """What the function returned."""
        assert self.code == wire.COMPLETED, (self.code, self.header, self.frames)
        return _codec.decode_value(self.frames)

    @property
    def error(self) -> BaseException:
        """What it raised."""
        assert self.code == wire.FAILED, (self.code, self.header)
        return _codec.decode_error(self.frames)


@dataclass
class _Watched:
    submit: list[bytes]
    lost_attempts: int = 0
    output: dict[int, bytes] = field(default_factory=lambda: {1: b"", 2: b""})
    dropped: int = 0
    missed: int = 0
    outcome: Outcome | None = None


class BareClient:
    """Submits, and waits. Survives restarts of the controller, as the protocol has it."""

    def __init__(self, folder: Path) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = wire.open_socket(self._context, wire.find_connection("client", folder))
        self._key = os.urandom(16)
        self._session = 0
        self._record: Any = None
        self._flags_again = 0
        self._sent = 0
        self._next_id = 0
        self._tasks: dict[int, _Watched] = {}
        self._is_up = False
        self._pump_until(lambda: self._is_up, "the controller lets the client in")

    def close(self) -> None:
        self._socket.send(wire.pack(wire.GOODBYE), zmq.NOBLOCK)
        self._socket.close(linger=500)
        self._context.term()

    def __enter__(self) -> BareClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, function: Callable[..., Any], *args: Any, **options: Any) -> int:
        """``worker``: its name, ``attempts``: at most so many."""
        return self.submit_frames(_codec.encode_call(function, args, {}), **options)

    def submit_frames(
        self,
        frames: list[Any],
        *,
        worker: str | None = None,
        label: str | None = None,
        everywhere: bool = False,
        attempts: int = 0,
    ) -> int:
        self._next_id += 1
        topic, name = wire.TOPIC_ALL if everywhere else wire.TOPIC_ANY, worker or label
        if name is not None:
            topic = wire.TOPIC_NAME if worker else wire.TOPIC_LABEL
        section = wire.text_section(name) if name is not None else b""
        inline = len(frames) == 1
        head = wire.Header(
            wire.VERSION, wire.SUBMIT, wire.NAMED if name is not None else 0,
            0 if inline else len(frames), 0, 0, 0, self._next_id, 0, attempts, topic, 0,
        )  # fmt: skip
        rest = [section + bytes(frames[0])] if inline else [section, *frames]
        self._tasks[self._next_id] = _Watched([wire.HEADER.pack(*head), *rest])
        self._send_submit(self._tasks[self._next_id])
        return self._next_id

    def cancel(self, task: int) -> None:
        self._sent += 1
        self._socket.send(wire.pack(wire.CANCEL, seq=self._sent, id=task))

    def wait(self, task: int, patience_s: float = PATIENCE_S) -> Outcome:
        """Its outcome. Of a multicast it is the summary."""
        watched = self._tasks[task]
        self._pump_until(lambda: watched.outcome, f"task {task} ends", patience_s)
        assert watched.outcome is not None
        return watched.outcome

    def run(self, function: Callable[..., Any], *args: Any, **options: Any) -> Outcome:
        return self.wait(self.submit(function, *args, **options))

    def run_on(self, worker: str, function: Callable[..., Any], *args: Any) -> Outcome:
        """Runs it on that worker, as soon as that is there."""
        until = time.monotonic() + PATIENCE_S
        while (outcome := self.run(function, *args, worker=worker)).code in (
            wire.REFUSED,
            wire.LOST,
        ):
            assert time.monotonic() < until, f"waited in vain: {worker} is there"
            self.pump(0.05)
        return outcome

    def wait_for_output(self, task: int, text: bytes, stream: int = 1) -> None:
        """Until it has printed that, and before it ends."""
        watched = self._tasks[task]
        self._pump_until(lambda: text in watched.output[stream], f"task {task} prints {text!r}")
        assert watched.outcome is None, "the output came no sooner than the outcome"

    def pump(self, seconds: float) -> None:
        """Listens for a while."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._socket.poll(20):
                self._handle(*self._socket.recv_multipart())

    def _pump_until(
        self, condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S
    ) -> None:
        until = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < until, f"waited in vain: {what}"
            if self._socket.poll(100):
                self._handle(*self._socket.recv_multipart())

    def _send_submit(self, watched: _Watched) -> None:
        if not self._is_up:
            return
        self._sent += 1
        head, first, *rest = watched.submit
        header = wire.Header.of(head)
        again = header._replace(seq=self._sent, flags=header.flags | self._flags_again)
        with contextlib.suppress(zmq.Again):
            # What is lost now is submitted again in the next session.
            message = [wire.HEADER.pack(*again) + first, *rest]
            self._socket.send_multipart(message, zmq.NOBLOCK)

    def _handle(self, first: bytes, *rest: bytes) -> None:
        header = wire.Header.of(first)
        if header.kind == wire.WHO_ARE_YOU:
            self._session += 1
            self._is_up = False
            self._socket.send(wire.pack(wire.CLIENT_HELLO, seq=self._session) + self._key)
        elif header.kind == wire.WELCOME and header.ack == self._session:
            record = (header.id, first[32:40])
            if self._record not in (None, record):
                self._flags_again = wire.RESENT
            self._record, self._is_up, self._sent = record, True, 0
            for watched in self._tasks.values():
                if watched.outcome is None:
                    self._send_submit(watched)
        elif header.kind == wire.NOTICE and header.id in self._tasks:
            self._note(self._tasks[header.id], header, first, rest)
        elif header.kind == wire.OUTCOME and header.id in self._tasks:
            self._end(self._tasks[header.id], header, first, rest)

    def _note(
        self, watched: _Watched, header: wire.Header, first: bytes, rest: tuple[bytes, ...]
    ) -> None:
        if header.code == 0:
            watched.lost_attempts += 1
        elif header.code in (1, 2):
            watched.output[header.code] += b"".join(rest) if rest else first[32:]
            watched.dropped = max(watched.dropped, header.ack)
            watched.missed += header.extra

    def _end(
        self, watched: _Watched, header: wire.Header, first: bytes, rest: tuple[bytes, ...]
    ) -> None:
        if header.seq:
            self._socket.send(wire.pack(wire.ACK, ack=header.seq))
        if header.flags & wire.PART or watched.outcome is not None:
            return
        frames: list[Any] = list(rest)
        if not rest and not header.flags & wire.NO_PAYLOAD:
            frames = [first[32:]]
        watched.outcome = Outcome(
            header.code, header, frames, watched.lost_attempts,
            watched.output[1], watched.output[2], watched.dropped, watched.missed,
        )  # fmt: skip


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)


def python(code: str, orphans: Orphans, *arguments: str) -> subprocess.Popen[bytes]:
    """Runs a program of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=orphans.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
