"""One of the places where a worker runs functions, each with a thread of its own."""

from __future__ import annotations

import ctypes
import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from ._output import Printed
from ._session import Assignment, Task

_Value = TypeVar("_Value")

# Interrupts a call on the main thread. One that programs hardly use.
ABORT_SIGNAL = signal.SIGRTMIN + 11

_set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
# As a bare pointer, so that it may be null; the interpreter takes a reference of its own.
_set_async_exc.argtypes = [ctypes.c_ulong, ctypes.c_void_p]


class TaskAborted(BaseException):
    """Raised in a call that its client has cancelled, or whose time is over.

    Clean up and let it pass: a worker that does not stop within some seconds is killed.
    """


class Slot:
    """A place for one attempt at a time. Fields are written under the worker's lock, except by the
    slot's own thread, which alone begins and ends calls."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.is_main = index == 0
        self.thread = 0
        self.assignment: Assignment | None = None
        self.started_ns = 0
        self.printed = Printed()
        # What a slot that is not the main thread's is given; None: end.
        self.queue: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self.abort_since_ns = 0
        self._abort_wanted = False
        # Whether an exception may be raised in the thread now.
        self._interruptible = False
        self._lock = threading.Lock()

    def begin(self, started_ns: int) -> None:
        """Its thread starts with what it was assigned."""
        self.started_ns = started_ns

    def end(self) -> None:
        """Its thread is done, and has reported it."""
        self.assignment = None
        self.abort_since_ns = 0
        self._abort_wanted = False

    @property
    def is_aborted(self) -> bool:
        """Whether the present attempt was asked to stop."""
        return self._abort_wanted

    def abort(self) -> None:
        """Asks the present attempt to stop."""
        if not self.abort_since_ns:
            self.abort_since_ns = time.monotonic_ns()
            self._abort_wanted = True
            self.interrupt()

    def interrupt(self) -> None:
        """Raises :class:`TaskAborted` in its thread, once; as long as that has not come to pass,
        call it again, since a signal may just miss a system call that is about to begin."""
        if not self._abort_wanted:
            return
        if self.is_main:
            if self._interruptible:
                signal.pthread_kill(self.thread, ABORT_SIGNAL)
            return
        with self._lock:
            if self._interruptible:
                self._interruptible = False
                _set_async_exc(self.thread, id(TaskAborted))

    def handle_signal(self) -> None:
        """On the main thread, in the midst of whatever it does."""
        if self._interruptible and self._abort_wanted:
            self._interruptible = False
            raise TaskAborted

    def call(self, function: Callable[[], _Value]) -> _Value:
        """Calls it; :class:`TaskAborted` is raised in it if it is to stop, and never after it."""
        try:
            self._interruptible = True
            if self._abort_wanted:
                raise TaskAborted
            return function()
        finally:
            self._settle()

    def _settle(self) -> None:
        if self.is_main:
            # From the next instruction on, the handler does nothing.
            self._interruptible = False
            return
        with self._lock:
            self._interruptible = False
            # One that was asked for and has not been raised yet is not raised any more.
            _set_async_exc(self.thread, None)
