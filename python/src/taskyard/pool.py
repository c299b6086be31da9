"""A ``multiprocessing.Pool`` whose processes may be anywhere.

The methods and what they mean are those of :class:`multiprocessing.pool.Pool`; a program that uses
one goes on with another import::

    from taskyard.pool import Pool

    with Pool(4) as pool:                # four processes on this machine
        squares = pool.map(square, range(100))

    with Pool(client=client) as pool:    # the workers of a controller that is there already
        ...

Differences: there is no ``maxtasksperchild``, and with ``chunksize=1`` an item of ``imap`` that
fails does not end the iterator.
"""

from __future__ import annotations

import builtins
import collections
import concurrent.futures
import functools
import itertools
import multiprocessing
import threading
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

from taskyard import _default

__all__ = ["AsyncResult", "Pool", "PoolTimeout", "ResultIterator"]

T = TypeVar("T")

#: How many tasks of an ``imap`` are on their way at once: the rest of its input is not read yet.
IN_FLIGHT_MAX = 4096
# Tasks for each worker that a ``map`` makes: few enough to be cheap, enough to even out.
_CHUNKS_PER_WORKER = 4

_RUNNING, _CLOSED, _TERMINATED = "running", "closed", "terminated"


class PoolTimeout(multiprocessing.TimeoutError, builtins.TimeoutError):
    """A result did not come in the time that it was waited for; it may still come."""


# --- what runs in the workers

_initialized: set[str] = set()
_initializing = threading.Lock()


def _initialize(key: str, initializer: Callable[..., object], args: tuple[Any, ...]) -> None:
    """Runs a pool's initializer, once in each process."""
    with _initializing:
        if key not in _initialized:
            initializer(*args)
            _initialized.add(key)


class _Task:
    """A function for some items; with an initializer, which each process runs before its first."""

    __slots__ = ("fn", "initializer", "star")

    def __init__(
        self,
        fn: Callable[..., Any],
        star: bool,
        initializer: tuple[str, Callable[..., object], tuple[Any, ...]] | None,
    ) -> None:
        self.fn = fn
        self.star = star
        self.initializer = initializer

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        if self.initializer:
            _initialize(*self.initializer)
        fn = self.fn
        return [fn(*item) for item in items] if self.star else [fn(item) for item in items]

    @property
    def __name__(self) -> str:
        # An error about what cannot be sent names the user's function.
        return getattr(self.fn, "__qualname__", repr(self.fn))


class _Call:
    """One call, with an initializer before it."""

    __slots__ = ("fn", "initializer")

    def __init__(
        self,
        fn: Callable[..., Any],
        initializer: tuple[str, Callable[..., object], tuple[Any, ...]],
    ) -> None:
        self.fn = fn
        self.initializer = initializer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        _initialize(*self.initializer)
        return self.fn(*args, **kwargs)


# --- results


class AsyncResult(Generic[T]):
    """What ``apply_async`` and its like give at once: the result, later.

    A callback has returned before the result is ready, as with ``multiprocessing``.
    """

    def __init__(
        self,
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        self._event = threading.Event()
        self._callback = callback
        self._error_callback = error_callback
        self._value: T | None = None
        self._error: BaseException | None = None

    def ready(self) -> bool:
        """Whether it has ended, well or not."""
        return self._event.is_set()

    def successful(self) -> bool:
        """Whether it has ended well.

        Raises :class:`ValueError` if it has not ended.
        """
        if not self.ready():
            raise ValueError("the task has not ended yet: wait for it first")
        return self._error is None

    def wait(self, timeout: float | None = None) -> None:
        """Waits until it has ended, for ``timeout`` seconds at most."""
        self._event.wait(timeout)

    def get(self, timeout: float | None = None) -> T:
        """The result; what the task raised is raised here.

        Raises :class:`PoolTimeout`, a ``multiprocessing.TimeoutError``, if it has not ended after
        ``timeout`` seconds.
        """
        if not self._event.wait(timeout):
            raise PoolTimeout(f"no result after {timeout} s; it may still come")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def _settle(self, value: T | None, error: BaseException | None) -> None:
        self._value, self._error = value, error
        try:
            if error is None:
                if self._callback:
                    self._callback(value)  # type: ignore[arg-type]
            elif self._error_callback:
                self._error_callback(error)
        finally:
            self._callback = self._error_callback = None
            self._event.set()


class _Chunks(Generic[T]):
    """Puts the results of a map's chunks together, in their order."""

    def __init__(self, count: int, result: AsyncResult[list[T]]) -> None:
        self._lists: list[list[T]] = [[] for _ in range(count)]
        self._left = count
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._result = result

    def take(self, index: int, future: concurrent.futures.Future[list[T]]) -> None:
        error = _error_of(future)
        with self._lock:
            if error is None:
                self._lists[index] = future.result()
            elif self._error is None:
                self._error = error
            self._left -= 1
            if self._left:
                return
        if self._error is not None:
            self._result._settle(None, self._error)
        else:
            self._result._settle(list(itertools.chain.from_iterable(self._lists)), None)


class ResultIterator(Iterator[T]):
    """What ``imap`` gives: each result as soon as it is its turn, or as soon as it is there."""

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._condition = threading.Condition()
        # Results that may be taken, and those that came before their turn.
        self._ready: collections.deque[tuple[T | None, BaseException | None]] = collections.deque()
        self._early: dict[int, tuple[Sequence[T], BaseException | None]] = {}
        self._turn = 0
        # How many chunks there are; known when the input has been read.
        self._count: int | None = None

    def __next__(self) -> T:
        return self.next()

    def next(self, timeout: float | None = None) -> T:
        """The next result; what its task raised is raised here, and the iterator goes on.

        Raises :class:`PoolTimeout` if there is none after ``timeout`` seconds.
        """
        with self._condition:
            if not self._condition.wait_for(lambda: self._ready or self._is_over, timeout):
                raise PoolTimeout(f"no result after {timeout} s; it may still come")
            if not self._ready:
                raise StopIteration
            value, error = self._ready.popleft()
        if error is not None:
            raise error
        return value  # type: ignore[return-value]

    @property
    def _is_over(self) -> bool:
        return self._turn == self._count

    def _take(self, index: int, values: Sequence[T], error: BaseException | None) -> None:
        with self._condition:
            if self._ordered:
                self._early[index] = (values, error)
                while (chunk := self._early.pop(self._turn, None)) is not None:
                    self._append(*chunk)
            else:
                self._append(values, error)
            self._condition.notify_all()

    def _append(self, values: Sequence[T], error: BaseException | None) -> None:
        self._turn += 1
        self._ready.extend((value, None) for value in values)
        if error is not None:
            self._ready.append((None, error))

    def _end(self, count: int) -> None:
        with self._condition:
            self._count = count
            self._condition.notify_all()


def _error_of(future: concurrent.futures.Future[Any]) -> BaseException | None:
    """What a future that has ended raises."""
    try:
        return future.exception()
    except concurrent.futures.CancelledError as error:
        return error


# --- the pool


class Pool:
    """Workers that functions are sent to, as with :class:`multiprocessing.pool.Pool`.

    ``processes`` of its own on this machine (as many as processors by default), which end with it;
    or with ``client`` the workers of that client's controller, which it does not touch. Without
    either, ``TASKYARD_CONNECT`` names the connection file of a controller, if it is set.
    ``client`` may also be a view of some workers: ``client.label("gpu")``.

    ``initializer(*initargs)`` runs once in each process, before its first task of this pool, also
    in one that has come in the place of another.

    >>> with Pool(2) as pool:
    ...     assert pool.map(abs, [-1, -2, 3]) == [1, 2, 3]
    ...     assert pool.apply_async(divmod, (7, 2)).get(timeout=60) == (3, 1)
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        client: concurrent.futures.Executor | None = None,
    ) -> None:
        if processes is not None and processes < 1:
            raise ValueError("a pool has at least one process")
        if processes is not None and client is not None:
            raise ValueError("either processes of its own, or a client of others")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._initializer = (
            (uuid.uuid4().hex, initializer, tuple(initargs)) if initializer else None
        )
        self._state = _RUNNING
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._open: set[concurrent.futures.Future[Any]] = set()
        self._feeders: set[threading.Thread] = set()
        self._own: _default.Own | None = None
        if client is None:
            self._own = _default.connect(processes)
            client = self._own.client
        self._executor = client
        self._workers = 0

    # --- one call

    def apply(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] | None = None,
    ) -> T:
        """``func(*args, **kwds)``, there; waits for it."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] | None = None,
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[T]:
        """``func(*args, **kwds)``, there; does not wait for it."""
        self._check_running()
        result = AsyncResult(callback, error_callback)

        def settle(future: concurrent.futures.Future[T]) -> None:
            error = _error_of(future)
            result._settle(None if error else future.result(), error)

        call = _Call(func, self._initializer) if self._initializer else func
        self._submit(settle, call, *args, **(kwds or {}))
        return result

    # --- many calls, one list

    def map(
        self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[T]:
        """``[func(item) for item in iterable]``, there; waits for it.

        ``chunksize`` items go in one task: by default so many that there are about four tasks for
        each worker.
        """
        return self._map(func, iterable, chunksize, False, None, None).get()

    def map_async(
        self,
        func: Callable[[Any], T],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[T]]:
        """As :meth:`map`, but does not wait."""
        return self._map(func, iterable, chunksize, False, callback, error_callback)

    def starmap(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> list[T]:
        """``[func(*item) for item in iterable]``, there; waits for it."""
        return self._map(func, iterable, chunksize, True, None, None).get()

    def starmap_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[T]]:
        """As :meth:`starmap`, but does not wait."""
        return self._map(func, iterable, chunksize, True, callback, error_callback)

    def _map(
        self,
        func: Callable[..., T],
        iterable: Iterable[Any],
        chunksize: int | None,
        star: bool,
        callback: Callable[[list[T]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> AsyncResult[list[T]]:
        self._check_running()
        items = iterable if isinstance(iterable, Sequence) else list(iterable)
        if chunksize is None:
            chunksize = -(-len(items) // (_CHUNKS_PER_WORKER * self._width())) or 1
        _positive(chunksize)
        result = AsyncResult(callback, error_callback)
        chunks = [items[at : at + chunksize] for at in range(0, len(items), chunksize)]
        if not chunks:
            result._settle([], None)
            return result
        parts = _Chunks(len(chunks), result)
        task = _Task(func, star, self._initializer)
        for index, chunk in enumerate(chunks):
            self._submit(functools.partial(parts.take, index), task, chunk)
        return result

    # --- many calls, one after the other

    def imap(
        self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int = 1
    ) -> ResultIterator[T]:
        """The results one by one, in the order of the input."""
        return self._imap(func, iterable, chunksize, ordered=True)

    def imap_unordered(
        self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int = 1
    ) -> ResultIterator[T]:
        """The results one by one, as they come."""
        return self._imap(func, iterable, chunksize, ordered=False)

    def _imap(
        self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int, *, ordered: bool
    ) -> ResultIterator[T]:
        self._check_running()
        _positive(chunksize)
        results: ResultIterator[T] = ResultIterator(ordered)
        task = _Task(func, False, self._initializer)
        # The input is read by a thread of its own: it may be slow, or have no end.
        feeder = threading.Thread(
            target=self._feed, args=(task, iterable, chunksize, results), daemon=True
        )
        feeder.name = "taskyard-pool-feeder"
        with self._lock:
            self._feeders.add(feeder)
        feeder.start()
        return results

    def _feed(
        self, task: _Task, iterable: Iterable[Any], chunksize: int, results: ResultIterator[Any]
    ) -> None:
        places = threading.Semaphore(IN_FLIGHT_MAX)
        index = 0

        def take(index: int, future: concurrent.futures.Future[list[Any]]) -> None:
            places.release()
            error = _error_of(future)
            results._take(index, () if error else future.result(), error)

        try:
            for chunk in _chunks_of(iterable, chunksize):
                places.acquire()
                if self._state == _TERMINATED:
                    return
                self._submit(functools.partial(take, index), task, chunk)
                index += 1
        except BaseException as error:
            # The input failed, or nothing more can be sent: that is the last result.
            results._take(index, (), error)
            index += 1
        finally:
            results._end(index)
            with self._idle:
                self._feeders.discard(threading.current_thread())
                self._idle.notify_all()

    # --- the end

    def close(self) -> None:
        """Takes no more work; what was given is done."""
        if self._state == _RUNNING:
            self._state = _CLOSED

    def terminate(self) -> None:
        """Ends at once: what has not ended is cancelled, and its results raise that."""
        with self._lock:
            if self._state == _TERMINATED:
                return
            self._state = _TERMINATED
            still_open = list(self._open)
        for future in still_open:
            _default.cancel(future)
        self._release()

    def join(self) -> None:
        """Waits until all has been done.

        Raises :class:`ValueError` before :meth:`close` or :meth:`terminate`.
        """
        if self._state == _RUNNING:
            raise ValueError("the pool is still running: close() it first, or terminate() it")
        if self._state == _CLOSED:
            with self._idle:
                self._idle.wait_for(lambda: not self._open and not self._feeders)
            self._release()

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.terminate()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if getattr(self, "_own", None) is not None and self._state == _RUNNING:
            _warn(f"unclosed pool {self!r}", ResourceWarning, source=self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} state={self._state} of {self._executor!r}>"

    def __reduce__(self) -> Any:
        raise NotImplementedError("a pool cannot be sent to another process")

    def _release(self) -> None:
        """Gives back what it has made for itself."""
        with self._lock:
            own, self._own = self._own, None
        if own is not None:
            own.close()

    # --- inside

    def _check_running(self) -> None:
        if self._state != _RUNNING:
            raise ValueError(f"the pool is {self._state}, and takes no more work")

    def _width(self) -> int:
        """How many workers there are, or were when it was first asked."""
        if not self._workers:
            self._workers = _default.count_workers(self._executor)
        return self._workers

    def _submit(
        self,
        settle: Callable[[concurrent.futures.Future[Any]], None],
        call: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        future = self._executor.submit(call, *args, **kwargs)
        with self._lock:
            self._open.add(future)
            too_late = self._state == _TERMINATED

        def on_done(future: concurrent.futures.Future[Any]) -> None:
            try:
                settle(future)
            finally:
                with self._idle:
                    self._open.discard(future)
                    if not self._open:
                        self._idle.notify_all()

        future.add_done_callback(on_done)
        if too_late:
            _default.cancel(future)


def _positive(chunksize: int) -> None:
    if chunksize < 1:
        raise ValueError(f"chunksize must be 1 or more, not {chunksize}")


def _chunks_of(iterable: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """The items, ``size`` at a time.

    >>> assert list(_chunks_of("abcde", 2)) == [("a", "b"), ("c", "d"), ("e",)]
    """
    iterator = iter(iterable)
    while chunk := tuple(itertools.islice(iterator, size)):
        yield chunk
