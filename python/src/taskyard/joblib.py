"""joblib, and with it scikit-learn, on the workers of a controller.

    import joblib, taskyard.joblib

    taskyard.joblib.register()
    with taskyard.Cluster(workers=8) as cluster, taskyard.Client(cluster):
        with joblib.parallel_config("taskyard"):
            search.fit(X, y)

Which workers: those of ``parallel_config("taskyard", client=...)``, else of the client that was
given to :func:`register`, else of the innermost ``with Client(...)``, else of the controller that
``TASKYARD_CONNECT`` names, else as many on this machine as it has processors, until the program
ends.
"""

from __future__ import annotations

import collections
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import joblib
from joblib._parallel_backends import FallbackToBackend, SequentialBackend
from joblib.parallel import AutoBatchingMixin, ParallelBackendBase

from taskyard import _default

if TYPE_CHECKING:
    from taskyard.client import View

__all__ = ["TaskyardBackend", "register"]

_registered: concurrent.futures.Executor | None = None


def register(
    client: concurrent.futures.Executor | None = None, *, make_default: bool = False
) -> None:
    """Makes ``"taskyard"`` known to joblib, for all threads.

    ``client``, or a view of some of its workers, is then what is used where nothing else is said.
    With ``make_default``, also where no backend is named at all.
    """
    global _registered
    _registered = client
    joblib.register_parallel_backend("taskyard", TaskyardBackend, make_default=make_default)


class _Batch:
    """What a worker is sent: some calls, and how many threads a numerical library may use."""

    __slots__ = ("calls", "threads_max")

    def __init__(self, calls: Callable[[], list[Any]], threads_max: int | None) -> None:
        self.calls = calls
        self.threads_max = threads_max

    def __call__(self) -> list[Any]:
        if self.threads_max is None:
            return self.calls()
        import threadpoolctl

        with threadpoolctl.threadpool_limits(self.threads_max):
            return self.calls()


_Callback = Callable[[concurrent.futures.Future[Any]], object]
_Work = tuple[_Batch, "_Callback | None"]


class TaskyardBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """What joblib makes of ``parallel_config("taskyard", client=..., **options)``.

    ``options`` are those of ``client.options``: ``priority``, ``retries``, ``finish_within`` ...
    ``n_jobs`` bounds how many batches run at once; -1 is as many as the workers can.
    """

    default_n_jobs = -1
    supports_inner_max_num_threads = True
    supports_retrieve_callback = True
    supports_sharedmem = False
    uses_threads = False

    def __init__(
        self,
        client: concurrent.futures.Executor | None = None,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._executor = client or _registered or _default.executor()
        if options:
            self._executor = cast("View", self._executor).options(**options)
        self._lock = threading.Lock()
        # Batches that were sent and have not ended, and those that ``n_jobs`` holds back.
        self._open: set[concurrent.futures.Future[Any]] = set()
        self._waiting: collections.deque[_Work] = collections.deque()
        self._limit: int | None = None
        self._running = 0

    # --- how many

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many batches can run at once: what joblib cuts its work for."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        if n_jobs > 0:
            return n_jobs
        return max(_default.count_workers(self._executor) + 1 + n_jobs, 1)

    def configure(
        self,
        n_jobs: int | None = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        **ignored: Any,
    ) -> int:
        """Prepares for a call of ``Parallel``, which this instance may have many of."""
        if n_jobs == 1 or n_jobs is None:
            # The person said: one after the other, here.
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        count = self.effective_n_jobs(n_jobs)
        self._limit = count if n_jobs != -1 else None
        return count

    def start_call(self) -> None:
        """Forgets how long the batches of the last call took."""
        self.reset_batch_stats()

    # --- batches

    def submit(self, func: Callable[[], list[Any]], callback: _Callback | None = None) -> None:
        """Sends a batch to a worker, or keeps it until one of ``n_jobs`` has ended.

        joblib wants no more than that ``callback`` is called with the future in the end.
        """
        work = _Batch(func, self.inner_max_num_threads), callback
        with self._lock:
            if self._limit is not None and self._running >= self._limit:
                self._waiting.append(work)
                return
            self._running += 1
        self._send(work)

    def apply_async(self, func: Callable[[], list[Any]], callback: _Callback | None = None) -> None:
        """What :meth:`submit` was called before joblib 1.5."""
        self.submit(func, callback)

    def _send(self, work: _Work | None) -> None:
        """Sends a batch in a place that is kept for it, or gives the place back.

        A batch that cannot be sent is a future that has failed: joblib also sends from callbacks,
        where an exception would be lost, and its batch waited for in vain.
        """
        while work is not None:
            batch, callback = work
            future: concurrent.futures.Future[Any]
            try:
                future = self._executor.submit(batch)
            except Exception as error:
                future = concurrent.futures.Future()
                future.set_exception(error)
                # Its place is for the next.
                work = self._next()
            else:
                with self._lock:
                    self._open.add(future)
                future.add_done_callback(self._on_done)
                work = None
            if callback:
                future.add_done_callback(callback)

    def _next(self) -> _Work | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._running -= 1
            return None

    def _on_done(self, future: concurrent.futures.Future[Any]) -> None:
        with self._lock:
            self._open.discard(future)
        self._send(self._next())

    def retrieve_result_callback(self, out: concurrent.futures.Future[Any]) -> list[Any]:
        """The results of a batch; what it raised is raised here."""
        return cast("list[Any]", out.result())

    # --- the end

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancels what has not ended, also what runs: nobody will ask for its results."""
        with self._lock:
            self._waiting.clear()
            still_open = list(self._open)
        for future in still_open:
            _default.cancel(future)
