"""Run a Python script's functions on the workers of a Taskyard controller.

>>> from taskyard import Client, Cluster
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard import errors
    from taskyard.client import Client, Options
    from taskyard.cluster import Cluster
    from taskyard.errors import (
        ControllerLost,
        MulticastError,
        NotSerializable,
        Refused,
        RemoteError,
        TaskCancelled,
        TaskTimeout,
        TaskyardError,
        WorkerLost,
    )
    from taskyard.futures import Future, Multicast, as_completed, gather

__version__ = "0.1.0"

# What is imported when it is first asked for: an import of this package alone costs nothing.
_HOMES = {
    "Client": "client",
    "Cluster": "cluster",
    "ControllerLost": "errors",
    "Future": "futures",
    "Multicast": "futures",
    "MulticastError": "errors",
    "NotSerializable": "errors",
    "Options": "client",
    "Refused": "errors",
    "RemoteError": "errors",
    "TaskCancelled": "errors",
    "TaskTimeout": "errors",
    "TaskyardError": "errors",
    "WorkerLost": "errors",
    "as_completed": "futures",
    "gather": "futures",
}

__all__ = [
    "Client",
    "Cluster",
    "ControllerLost",
    "Future",
    "Multicast",
    "MulticastError",
    "NotSerializable",
    "Options",
    "Refused",
    "RemoteError",
    "TaskCancelled",
    "TaskTimeout",
    "TaskyardError",
    "WorkerLost",
    "__version__",
    "as_completed",
    "errors",
    "gather",
]


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        value = getattr(importlib.import_module(f"taskyard.{_HOMES[name]}"), name)
    elif name in ("errors", "joblib", "pool", "progress"):
        value = importlib.import_module(f"taskyard.{name}")
    else:
        raise AttributeError(f"module 'taskyard' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
