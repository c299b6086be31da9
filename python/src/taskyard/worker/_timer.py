"""A timer as a descriptor, so that the watcher sleeps until a task has run for some time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time

_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_CLOEXEC = os.O_CLOEXEC


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Timer:
    """One shot. Setting it takes less than a microsecond and wakes nobody."""

    def __init__(self) -> None:
        # The interpreter's lock is kept during the call: to give it up would cost more.
        libc = ctypes.PyDLL(None, use_errno=True)
        self.descriptor: int = libc.timerfd_create(
            time.CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC
        )
        if self.descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._set = libc.timerfd_settime
        self._set.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        self._setting = _Setting()
        self._address = ctypes.addressof(self._setting)

    def arm(self, after_ns: int) -> None:
        """It becomes readable after so long, which is more than 0."""
        self._setting.value.seconds, self._setting.value.nanoseconds = divmod(after_ns, 10**9)
        self._set(self.descriptor, 0, self._address, None)

    def clear(self) -> None:
        """It is not readable any more."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 8)
