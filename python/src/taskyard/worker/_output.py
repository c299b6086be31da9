"""What tasks print.

With one slot all of the process's standard output and error goes through two pipes, whoever writes
to it: Python, C code, child processes. It is the running attempt's. With more slots a pipe cannot
tell whose it is; then Python's own streams look at the thread that writes, and what comes from
elsewhere goes where the worker's own messages go.

It is lossy past a bound, and counts what is missing: printing must never hold up a result.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import io
import os
import select
import sys
import threading
import time
from collections.abc import Callable

STDOUT = 1
STDERR = 2
CHUNK_BYTES_MAX = 64 * 1024
_PIPE_BYTES = 256 * 1024
# What waits here to be sent, at most.
_PENDING_BYTES_MAX = 1 << 20
# An attempt may print so much at once, and so much in each second after that.
_BURST_BYTES = 8 << 20
_RATE_BYTES_PER_S = 4 << 20
_IOLBF = 1


class Printed:
    """What one slot's attempt has printed and nobody has been told yet."""

    __slots__ = ("_allowed", "_allowed_at", "_lock", "_pending", "_size", "dropped", "told")

    def __init__(self) -> None:
        # Held for moments only, and never while anything else is taken.
        self._lock = threading.Lock()
        self.begin()

    def begin(self) -> None:
        """For a new attempt."""
        self._pending: list[tuple[int, bytes]] = []
        self._size = 0
        self._allowed = float(_BURST_BYTES)
        self._allowed_at = 0.0
        # Bytes that were lost in this attempt, and how many of them have been told.
        self.dropped = 0
        self.told = 0

    def feed(self, stream: int, data: bytes) -> None:
        """Takes what was printed, or counts it as lost."""
        now = time.monotonic()
        with self._lock:
            if self._allowed_at:
                gained = (now - self._allowed_at) * _RATE_BYTES_PER_S
                self._allowed = min(self._allowed + gained, float(_BURST_BYTES))
            self._allowed_at = now
            if len(data) > self._allowed or self._size + len(data) > _PENDING_BYTES_MAX:
                self.dropped += len(data)
                return
            self._allowed -= len(data)
            self._size += len(data)
            self._pending.append((stream, data))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not self._pending and self.dropped == self.told

    def tell(self, send: Callable[[int, bytes, int], bool]) -> None:
        """Sends what waits, by ``send(stream, data, bytes lost so far)``."""
        with self._lock:
            pending, self._pending, self._size = self._pending, [], 0
        for stream, data in _joined(pending):
            if send(stream, data, self.dropped):
                self.told = self.dropped
            else:
                self.dropped += len(data)
        if self.dropped != self.told and send(STDERR, b"", self.dropped):
            self.told = self.dropped


def _joined(pending: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Neighbours of one stream in one piece, in pieces that one message may have."""
    joined: list[tuple[int, bytes]] = []
    for stream, data in pending:
        if joined and joined[-1][0] == stream and len(joined[-1][1]) + len(data) <= CHUNK_BYTES_MAX:
            joined[-1] = (stream, joined[-1][1] + data)
            continue
        for start in range(0, len(data), CHUNK_BYTES_MAX):
            joined.append((stream, data[start : start + CHUNK_BYTES_MAX]))
    return joined


class Capture:
    """The pipes behind descriptors 1 and 2 of a process with one slot."""

    def __init__(self, stdout: tuple[int, int], stderr: tuple[int, int]) -> None:
        # Where the worker's own messages go, and what is printed between tasks.
        self.outside = os.dup(2)
        os.set_inheritable(self.outside, False)
        self._streams = {stdout[0]: STDOUT, stderr[0]: STDERR}
        self._poll = select.poll()
        for descriptor, (read, write) in ((1, stdout), (2, stderr)):
            os.set_blocking(read, False)
            with contextlib.suppress(OSError):
                fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            os.dup2(write, descriptor)
            os.close(write)
            self._poll.register(read, select.POLLIN)
        sys.stdout = sys.__stdout__ = _text(1)  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = _text(2)  # type: ignore[misc]
        self._fflush = _line_buffered_stdio()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What becomes readable when something was printed."""
        return tuple(self._streams)

    def flush(self) -> None:
        """Empties the buffers of Python and of C."""
        # A task may have closed or replaced them; that is its own affair.
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        self._fflush()

    def read(self, take: Callable[[int, bytes], None]) -> int:
        """Reads what is there now, for ``take(stream, data)``; gives how many bytes."""
        found = 0
        # Bounded: who prints faster than this reads shall not hold it up.
        for _ in range(64):
            ready = self._poll.poll(0)
            if not ready:
                break
            for descriptor, _ in ready:
                with contextlib.suppress(BlockingIOError):
                    # The nanny may have been faster.
                    data = os.read(descriptor, CHUNK_BYTES_MAX)
                    take(self._streams[descriptor], data)
                    found += len(data)
        return found

    def write_outside(self, _stream: int, data: bytes) -> None:
        """For what is no attempt's."""
        with contextlib.suppress(OSError):
            os.write(self.outside, data)


def own_pipes() -> tuple[tuple[int, int], tuple[int, int]]:
    """For a worker without a parent that made them."""
    return os.pipe(), os.pipe()


def _text(descriptor: int) -> io.TextIOWrapper:
    return open(
        descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )


def _line_buffered_stdio() -> Callable[[], object]:
    """Makes C's standard output show each line; gives what empties its buffer."""
    # With `PyDLL` the interpreter's lock is kept, which is cheaper for calls this short.
    libc = ctypes.PyDLL(None)
    try:
        stdout = ctypes.c_void_p.in_dll(libc, "stdout")
        libc.setvbuf(stdout, None, ctypes.c_int(_IOLBF), ctypes.c_size_t(4096))
        # With the lock released: it may have to wait until somebody has read the pipe.
        flush = ctypes.CDLL(None).fflush
    except (AttributeError, ValueError):
        return lambda: None
    flush.argtypes = [ctypes.c_void_p]
    return lambda: flush(stdout)


class ThreadStream(io.TextIOBase):
    """Python's own stream where several attempts run at once: asks whose thread it is."""

    def __init__(self, stream: int, outside: int, whose: Callable[[], Printed | None]) -> None:
        super().__init__()
        self._stream = stream
        self._outside = outside
        self._whose = whose

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._stream

    def write(self, text: str) -> int:
        data = text.encode("utf-8", "backslashreplace")
        printed = self._whose()
        if printed is None:
            with contextlib.suppress(OSError):
                os.write(self._outside, data)
        else:
            printed.feed(self._stream, data)
        return len(text)
