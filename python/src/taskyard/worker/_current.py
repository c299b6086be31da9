"""What a function may ask about the attempt that it is."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from ._slot import Slot


@dataclass(frozen=True)
class Current:
    """The attempt that runs here."""

    # The worker's name.
    worker: str
    # Which execution of the task, from 1.
    attempt: int
    # Whether it was asked to stop: its client has cancelled it, or its time is over.
    aborted: bool


class _Here(threading.local):
    slot: Slot | None = None


_here = _Here()
_name = ""
# The one slot of a process that has one: threads that a function starts are its own.
_only: Slot | None = None


def publish(name: str, main: Slot, *, alone: bool) -> None:
    """At the start, on the main thread."""
    global _name, _only
    _name = name
    _only = main if alone else None
    enter(main)


def enter(slot: Slot) -> None:
    """This thread is that slot's."""
    _here.slot = slot


def slot_here() -> Slot | None:
    """Whose thread this is."""
    return _here.slot or _only


def current() -> Current | None:
    """The attempt that this is called in; None outside of a worker.

    >>> assert current() is None
    """
    slot = slot_here()
    if slot is None:
        return None
    assignment = slot.assignment
    if assignment is None:
        return None
    return Current(_name, assignment.attempt, slot.is_aborted)
