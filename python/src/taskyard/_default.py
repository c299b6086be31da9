"""Which workers are meant where a program does not say, and how many there are."""

from __future__ import annotations

import atexit
import concurrent.futures
import os
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from taskyard import _entered, _wire
from taskyard._session import Route
from taskyard.client import AllView, View
from taskyard.errors import MulticastError
from taskyard.futures import Future

if TYPE_CHECKING:
    from taskyard.client import Client
    from taskyard.cluster import Cluster

# How long workers that are busy are given to be counted by themselves.
_COUNT_WAIT_S = 0.2
# How long the first worker of a controller may take to come, and how often it is looked for.
_FIRST_WORKER_S = 60.0
_LOOK_AGAIN_S = 0.1


class Own(NamedTuple):
    """A client that was made because there was none, and its cluster if that was made too."""

    client: Client
    cluster: Cluster | None

    def close(self) -> None:
        """Ends both."""
        self.client.close()
        if self.cluster is not None:
            self.cluster.close()


def connect(workers: int | None = None) -> Own:
    """A client of the controller that ``TASKYARD_CONNECT`` names, or of a cluster of its own."""
    from taskyard.client import Client
    from taskyard.cluster import Cluster

    if workers is None and os.environ.get("TASKYARD_CONNECT"):
        return Own(Client(), None)
    cluster = Cluster(workers)
    try:
        return Own(Client(cluster), cluster)
    except BaseException:
        cluster.close()
        raise


_shared: tuple[int, Own] | None = None
_sharing = threading.Lock()


def executor() -> concurrent.futures.Executor:
    """The innermost ``with Client(...)`` around this; else a client that is made at the first call
    and lasts as long as the program."""
    global _shared
    entered = _entered.innermost()
    if entered is not None:
        return entered
    with _sharing:
        # A forked child has none of it, whatever its memory says.
        if _shared is None or _shared[0] != os.getpid():
            own = connect()
            atexit.register(own.close)
            _shared = (os.getpid(), own)
        return _shared[1].client


def _nothing() -> None:
    """What every worker can do."""


def count_workers(executor: concurrent.futures.Executor) -> int:
    """How many workers an executor has: at least 1, and for a label at most so many.

    All are asked, as only those who operate a controller may see its list. Who is busy need not
    answer: that it was asked is in the controller's summary.

    Raises ``TimeoutError`` if there is none, and none comes.
    """
    if not isinstance(executor, View):
        return getattr(executor, "_max_workers", None) or 1
    if executor._topic.code in (_wire.TOPIC_WORKER, _wire.TOPIC_NAME):
        return 1
    everybody = AllView(executor._link, Route(code=_wire.TOPIC_ALL), {"priority": 7})
    until = time.monotonic() + _FIRST_WORKER_S
    while (count := _count_once(everybody)) == 0:
        if time.monotonic() > until:
            raise TimeoutError(
                f"no worker came in {_FIRST_WORKER_S:g} s: start some with `taskyard worker`"
            )
        time.sleep(_LOOK_AGAIN_S)
    return count


def _count_once(everybody: AllView) -> int:
    asked = everybody.submit(_nothing)
    concurrent.futures.wait([asked], _COUNT_WAIT_S)
    # Those that have not begun need not; the summary comes all the same.
    asked._request_cancel()
    try:
        return len(asked.result(_FIRST_WORKER_S))
    except MulticastError as error:
        return error.workers


def cancel(future: concurrent.futures.Future[Any]) -> None:
    """Cancels a future, and does not wait for what comes of that: with many, each would wait."""
    if isinstance(future, Future):
        future._request_cancel()
    else:
        future.cancel()
