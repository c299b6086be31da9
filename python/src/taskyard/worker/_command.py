"""Runs a command as a task: in a session of its own, so that all of it can be ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable

from taskyard import _process
from taskyard._codec import COMMAND_OUTPUT_BYTES_MAX, Command, CommandResult

_READ_BYTES = 64 * 1024
# What a command may take to end when it is asked to.
_TERMINATE_S = 0.5
# It has ended, but others have its pipes: what they print is not waited for.
_REST_S = 0.05


class _Stream:
    """One of a command's two streams."""

    def __init__(self, number: int, take: Callable[[int, bytes], None]) -> None:
        self._number = number
        self._take = take
        self.kept = bytearray()
        self.truncated = False

    def read(self, descriptor: int) -> bool:
        """False: it has ended."""
        data = os.read(descriptor, _READ_BYTES)
        if not data:
            return False
        self._take(self._number, data)
        room = COMMAND_OUTPUT_BYTES_MAX - len(self.kept)
        self.kept += data[:room]
        self.truncated = self.truncated or len(data) > room
        return True


def run_command(command: Command, take: Callable[[int, bytes], None]) -> CommandResult:
    """Runs a command until it ends, and passes on what it prints to ``take(stream, data)``.

    Whatever interrupts it, and whatever it leaves running in its group, the group is killed.
    Raises ``OSError`` if it cannot be started.
    """
    process = subprocess.Popen(
        command.argv or ["/bin/sh", "-c", command.shell or ""],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=command.cwd,
        env={**os.environ, **command.env} if command.env else None,
        start_new_session=True,
    )
    try:
        streams = _follow(process, take)
        process.wait()
    except BaseException:
        _terminate(process)
        raise
    finally:
        _process.kill_group_quietly(process.pid)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    code = process.returncode
    stdout, stderr = streams
    return CommandResult(
        code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        stdout=bytes(stdout.kept),
        stderr=bytes(stderr.kept),
        stdout_truncated=stdout.truncated,
        stderr_truncated=stderr.truncated,
    )


def _follow(
    process: subprocess.Popen[bytes], take: Callable[[int, bytes], None]
) -> tuple[_Stream, _Stream]:
    assert process.stdout is not None
    assert process.stderr is not None
    stdout, stderr = _Stream(1, take), _Stream(2, take)
    by_descriptor = {process.stdout.fileno(): stdout, process.stderr.fileno(): stderr}
    poll = select.poll()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    end = os.pidfd_open(process.pid)
    poll.register(end, select.POLLIN)
    try:
        ended_at = None
        while by_descriptor:
            ready = poll.poll(None if ended_at is None else _REST_S * 1000)
            for descriptor, _ in ready:
                if descriptor == end:
                    ended_at = time.monotonic()
                    poll.unregister(end)
                elif not by_descriptor[descriptor].read(descriptor):
                    poll.unregister(descriptor)
                    del by_descriptor[descriptor]
            if ended_at is not None and (not ready or time.monotonic() - ended_at > _REST_S):
                break
    finally:
        os.close(end)
    return stdout, stderr


def _terminate(process: subprocess.Popen[bytes]) -> None:
    """Asks it to end, and gives it a moment."""
    _process.kill_group_quietly(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_TERMINATE_S)
