"""Processes: finding the program, watching over children, and leaving none behind.

Linux only, as the controller is. Nothing here imports ZeroMQ, so it may be used before a fork.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

BINARY_VARIABLE = "TASKYARD_BINARY"


class BinaryNotFound(RuntimeError):
    """The program ``taskyard`` is nowhere to be found; the message says where it was looked for."""


def find_binary() -> Path:
    """The program ``taskyard``: where ``TASKYARD_BINARY`` says, beside this interpreter, in the
    folders for scripts, or on ``PATH``, in that order.

    Raises :class:`BinaryNotFound`.
    """
    told = os.environ.get(BINARY_VARIABLE)
    if told:
        if os.access(told, os.X_OK) and Path(told).is_file():
            return Path(told)
        raise BinaryNotFound(
            f"{BINARY_VARIABLE} is {told!r}, which is no program: correct it, or unset it"
        )
    folders = [Path(sys.executable).parent]
    for scheme in ("", f"{os.name}_user"):
        with contextlib.suppress(KeyError):
            path = (
                sysconfig.get_path("scripts", scheme) if scheme else sysconfig.get_path("scripts")
            )
            if path:
                folders.append(Path(path))
    for folder in folders:
        candidate = folder / "taskyard"
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    on_path = shutil.which("taskyard")
    if on_path:
        return Path(on_path)
    raise BinaryNotFound(
        "the program taskyard is neither beside this Python nor on PATH: install the package"
        f" taskyard as a wheel, which brings it along, or set {BINARY_VARIABLE} to where it is"
    )


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def adopt_orphans() -> None:
    """From now on the descendants of this process become its children when their parents die, and
    not those of ``init``: so they can be found and ended."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when its parent dies. Only for children of a process with a
    single thread: to the kernel, the *thread* that forked is the parent."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It died before we had asked.
        os.kill(os.getpid(), signal.SIGKILL)


def _stat(pid: int) -> list[str] | None:
    """The fields of ``/proc/PID/stat`` from the state on; None: there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The program's name stands in parentheses and may hold anything.
    return text[text.rindex(")") + 2 :].split()


def parent_of(pid: int) -> int | None:
    """The parent's id; None: there is no such process."""
    fields = _stat(pid)
    return None if fields is None else int(fields[1])


def session_of(pid: int) -> int | None:
    """The id of its session; None: there is no such process."""
    fields = _stat(pid)
    return None if fields is None else int(fields[3])


def is_running(pid: int) -> bool:
    """Whether there is such a process, one that is dead and not yet waited for aside."""
    fields = _stat(pid)
    return fields is not None and fields[0] not in "ZX"


def environment_has(pid: int, entry: str) -> bool:
    """Whether a process was *started* with this ``NAME=value``; what it changed later does not
    show."""
    try:
        block = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return entry.encode() in block.split(b"\0")


def all_pids() -> Iterator[int]:
    """Every process there is."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def children_of(parent: int) -> list[int]:
    """The children of a process now, the dead that nobody has waited for included."""
    return [pid for pid in all_pids() if parent_of(pid) == parent]


def descendants_of(ancestor: int) -> list[int]:
    """Children, their children, and so on, parents first."""
    children: dict[int, list[int]] = {}
    for pid in all_pids():
        parent = parent_of(pid)
        if parent is not None:
            children.setdefault(parent, []).append(pid)
    found = list(children.get(ancestor, ()))
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def kill_quietly(pid: int, number: int = signal.SIGKILL) -> None:
    """Sends a signal; that the process is gone already is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def kill_group_quietly(group: int, number: int = signal.SIGKILL) -> None:
    """Sends a signal to a process group; that it is gone already is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def end_descendants(patience_s: float = 10.0) -> None:
    """Kills all that descends from this process, which has adopted its orphans, and waits for it.
    New ones that they start meanwhile are found in the next round."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        victims = descendants_of(os.getpid())
        if not victims:
            return
        for pid in victims:
            kill_quietly(pid)
        reap_all()
        time.sleep(0.005)


def reap_all() -> list[tuple[int, int]]:
    """Waits for all children that are dead by now; gives their ids and states."""
    reaped = []
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            reaped.append((pid, status))
    return reaped


def say_status(status: int) -> str:
    """A state of ``waitpid`` in words: ``exited with 3``, ``was killed by signal 11 (SIGSEGV)``."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with {code}"
    try:
        name = f" ({signal.Signals(-code).name})"
    except ValueError:
        name = ""
    return f"was killed by signal {-code}{name}"


def close_all(descriptors: Iterable[int]) -> None:
    """Closes descriptors; those that are closed already are no error."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
