"""The clients whose ``with`` statement is being run: what "the client" around a call is."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskyard.client import Client

# Those of this thread, or of this task of asyncio; a thread that is started has none of its own.
_here: ContextVar[tuple[Client, ...]] = ContextVar("taskyard_entered", default=())
# Those of all threads, the latest last.
_anywhere: list[Client] = []
_lock = threading.Lock()


def enter(client: Client) -> None:
    """A ``with`` statement of this client begins."""
    _here.set((*_here.get(), client))
    with _lock:
        _anywhere.append(client)


def leave(client: Client) -> None:
    """It ends."""
    _here.set(tuple(other for other in _here.get() if other is not client))
    with _lock:
        _anywhere[:] = [other for other in _anywhere if other is not client]


def innermost() -> Client | None:
    """The client of the innermost ``with`` around this; in a thread that has none, the one that was
    entered last in any."""
    here = _here.get()
    if here:
        return here[-1]
    with _lock:
        return _anywhere[-1] if _anywhere else None
