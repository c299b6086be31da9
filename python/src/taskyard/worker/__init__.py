"""The worker: runs Python functions and commands for a controller.

Start it with ``python -m taskyard.worker --connect FILE``. A function that it runs may ask for
:func:`current`, and is told to stop by :class:`TaskAborted`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._current import Current, current
    from ._execute import ResultTooLarge
    from ._slot import TaskAborted

__all__ = ["Current", "ResultTooLarge", "TaskAborted", "current"]

_HOMES = {
    "Current": "_current",
    "ResultTooLarge": "_execute",
    "TaskAborted": "_slot",
    "current": "_current",
}


def __getattr__(name: str) -> Any:
    # Loaded when asked for: the keeper and the nanny need none of it.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
