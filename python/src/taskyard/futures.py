"""Futures of tasks, and what is done with several of them.

They are :class:`concurrent.futures.Future`s, so all that waits for those waits for these; and they
can be awaited in asyncio.
"""

from __future__ import annotations

import codecs
import concurrent.futures
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import TimeoutError as WaitTimeout
from concurrent.futures._base import (
    CANCELLED_AND_NOTIFIED,
    PENDING,
)
from typing import TYPE_CHECKING, Any, TypeVar

from taskyard import _codec
from taskyard import _wire as wire
from taskyard.errors import (
    LostAttempt,
    MulticastError,
    Refused,
    TaskCancelled,
    TaskTimeout,
    TaskyardError,
    WorkerLost,
)

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from taskyard._link import Link
    from taskyard._session import Outcome, Route

T = TypeVar("T")

#: What is kept of each stream of a task; the rest is dropped and counted.
OUTPUT_BYTES_MAX = 1 << 20
#: How long :meth:`Future.cancel` waits for the controller's word.
CANCEL_WAIT_S = 1.0

STREAMS = {1: "stdout", 2: "stderr"}


def is_in_event_loop() -> bool:
    """Whether this thread runs an asyncio loop, which must not be blocked."""
    asyncio_events = sys.modules.get("asyncio.events")
    return asyncio_events is not None and asyncio_events._get_running_loop() is not None


class Waiter:
    """Something that waits for futures. Its methods are called under the link's lock, as those of
    the waiters of :mod:`concurrent.futures` are under the futures' conditions."""

    __slots__ = ("finished", "gate", "ready")

    def __init__(self) -> None:
        self.ready = False
        # A lock that is held; whoever waits in it is let go by its release.
        self.gate: threading.Lock | None = None
        self.finished: list[Future[Any]] = []

    def wake(self) -> None:
        """Lets go whoever waits in the gate."""
        gate, self.gate = self.gate, None
        if gate is not None:
            gate.release()

    def add_result(self, future: Future[Any]) -> None:
        """A future is done."""
        self.ready = True
        self.finished.append(future)
        if self.gate is not None:
            self.wake()

    add_exception = add_result
    add_cancelled = add_result


class Output:
    """What a task has written so far, of one stream."""

    __slots__ = ("chunks", "decoder", "kept")

    def __init__(self) -> None:
        self.chunks: list[str] = []
        self.kept = 0
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")


class Future(concurrent.futures.Future[T]):
    """The outcome of a task, when there is one.

    ``running()`` is always false: a controller does not tell when a task starts.
    """

    # What few tasks have stands in the class until one has it.
    _outputs: dict[str, Output] | None = None
    _dropped_there = 0
    _dropped_here = 0
    _output_lost_on_the_way = False
    _on_output: tuple[Callable[[str, str], object], ...] = ()
    _worker: tuple[int, int] | None = None
    _worker_name = ""
    _attempts = 0
    _notices: tuple[LostAttempt, ...] = ()
    _outcome: Outcome | None = None
    _loops: tuple[tuple[AbstractEventLoop, Callable[[], None]], ...] = ()
    # The session's own notes.
    _record: object = None
    _resent = 0
    _is_in_flight = False
    _cancels = False
    _id = 0
    _retry_since = 0.0
    is_multicast = False

    # The base class would make a lock for each; here all futures of a client share one.
    def __init__(self, link: Link, route: Route, request: list[_codec.Frame]) -> None:
        self._condition = link.condition
        self._state = PENDING
        self._result: Any = None
        self._exception: BaseException | None = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Callable[[Any], object]] = []
        self._link = link
        self._route = route
        self._request: list[_codec.Frame] | None = request

    # --- results

    def done(self) -> bool:
        """Whether there is an outcome."""
        return self._state is not PENDING

    def result(self, timeout: float | None = None) -> T:
        """What the task returned; it raises what the task raised, with the worker's traceback as
        its ``__cause__``, or one of :mod:`taskyard.errors`."""
        if self._state is PENDING:
            self._wait(timeout)
        if self._outcome is not None:
            self._decode()
        if self._exception is not None:
            try:
                raise self._exception
            finally:
                # The traceback holds this frame: no ring of references.
                del self
        result: T = self._result
        return result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What :meth:`result` would raise, or None. It raises that the task was cancelled."""
        if self._state is PENDING:
            self._wait(timeout)
        if self._outcome is not None:
            self._decode()
        if self._state is CANCELLED_AND_NOTIFIED and self._exception is not None:
            raise self._exception
        return self._exception

    def _wait(self, timeout: float | None) -> None:
        waiter = Waiter()
        with self._link.lock:
            if self._state is not PENDING:
                return
            self._waiters.append(waiter)
        try:
            is_done = self._link.wait(waiter, timeout)
        finally:
            with self._link.lock:
                self._waiters.remove(waiter)
        if not is_done and self._state is PENDING:
            raise WaitTimeout(f"there is no outcome after {timeout} s")

    def _decode(self) -> None:
        """Makes the result or the error of what came. It waits until somebody asks, so that no
        thread but the one that wants it pays for it, or runs what a pickle brings along."""
        outcome = self._outcome
        if outcome is None:
            return
        result, error = _settle(outcome, self)
        self._result, self._exception = result, error
        self._outcome = None

    # --- cancelling

    def cancelled(self) -> bool:
        """Whether it was cancelled and never started."""
        return self._state is CANCELLED_AND_NOTIFIED

    def running(self) -> bool:
        """False: nobody tells a client when a task starts."""
        return False

    def cancel(self) -> bool:
        """Takes the task away; true only if it never started.

        The controller decides, so this waits for its word, for a second at most; in a thread that
        runs an event loop it does not wait. A task that runs is stopped: its future raises
        :class:`~taskyard.errors.TaskCancelled` then, but this gives false, and so it does if no
        word comes in time.
        """
        if self._state is PENDING:
            self._request_cancel()
            if not is_in_event_loop() and not self._link.is_inside():
                try:
                    self._wait(CANCEL_WAIT_S)
                except WaitTimeout:
                    pass
        return self._state is CANCELLED_AND_NOTIFIED

    def _request_cancel(self) -> None:
        """Asks for the task to be taken away, and does not wait."""
        if self._state is PENDING:
            self._link.cancel(self)

    # --- callbacks

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Calls ``fn(future)`` when there is an outcome: in a thread that is there for callbacks
        alone, or at once if there is an outcome already."""
        if not self._link.add_callback(self, fn):
            self._run_callback(fn)

    def _run_callbacks(self) -> None:
        callbacks, self._done_callbacks = self._done_callbacks, []
        for callback in callbacks:
            self._run_callback(callback)

    def _run_callback(self, callback: Callable[[Any], object]) -> None:
        try:
            callback(self)
        except Exception:
            import logging

            logging.getLogger("taskyard").exception("exception calling callback for %r", self)

    # --- asyncio

    def __await__(self) -> Generator[Any, None, T]:
        if self._state is PENDING:
            import asyncio

            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()

            def done() -> None:
                if not waiter.done():
                    waiter.set_result(None)

            if self._link.add_loop(self, loop, done):
                try:
                    yield from waiter
                except asyncio.CancelledError:
                    self._request_cancel()
                    raise
        return self.result(0)

    # --- what is known of it

    @property
    def worker(self) -> str:
        """The name of the worker that ran it last; its number if it has no name that is known;
        empty as long as there is no outcome, or if none ran it."""
        if self._worker_name:
            return self._worker_name
        if self._worker is None:
            return ""
        return self._link.name_of(self._worker) or str(self._worker[0])

    @property
    def attempts(self) -> int:
        """How many executions were started, as far as is known."""
        return self._attempts

    @property
    def lost(self) -> list[LostAttempt]:
        """The executions that were lost with their worker, and were followed by another."""
        return list(self._notices)

    # --- what it writes

    @property
    def stdout(self) -> str:
        """What the task has written so far. It may be incomplete, and says so then."""
        return self._text_of("stdout")

    @property
    def stderr(self) -> str:
        """What the task has written to its standard error so far."""
        return self._text_of("stderr")

    @property
    def output_dropped(self) -> int:
        """How many bytes of output were dropped on the way, at least."""
        return self._dropped_there + self._dropped_here

    def _text_of(self, stream: str) -> str:
        with self._link.lock:
            output = (self._outputs or {}).get(stream)
            text = "".join(output.chunks) if output else ""
        dropped = self.output_dropped
        if dropped or self._output_lost_on_the_way:
            how_many = f"{dropped} bytes" if dropped else "some"
            text += f"\n[taskyard: {how_many} of this task's output were dropped]\n"
        return text

    def on_output(self, fn: Callable[[str, str], object]) -> None:
        """Calls ``fn(stream, text)`` for what the task writes, as it arrives, and for what has
        arrived already; ``stream`` is ``"stdout"`` or ``"stderr"``. It is called in the thread for
        callbacks; what comes faster than it can be taken is dropped.

        >>> shown = []
        >>> # client.submit(print, "hello").on_output(lambda stream, text: shown.append(text))
        """
        self._link.add_output_callback(self, fn)

    def __repr__(self) -> str:
        state = self._state.lower().replace("_and_notified", "")
        return f"<taskyard.Future {self._id} {state}>"


class Multicast(Future[dict[str, Any]]):
    """The outcome of a task for all workers.

    :meth:`result` is a dict of what each worker returned, by name; :meth:`results` a list of it, by
    the workers' places. Either raises :class:`~taskyard.errors.MulticastError` if some did not
    complete it.
    """

    is_multicast = True

    def __init__(self, link: Link, route: Route, request: list[_codec.Frame]) -> None:
        super().__init__(link, route, request)
        self._parts: dict[tuple[int, int], Future[Any]] = {}

    def results(self, timeout: float | None = None) -> list[Any]:
        """What the workers returned, in the order of their places."""
        return list(self.result(timeout).values())

    @property
    def futures(self) -> dict[str, Future[Any]]:
        """The futures of the single workers that have an outcome by now, by name: all of them once
        the whole is done."""
        with self._link.lock:
            parts = sorted(self._parts.items())
        return {part.worker: part for _, part in parts}

    def _decode(self) -> None:
        outcome = self._outcome
        if outcome is None:
            return
        if outcome.code != wire.SUMMARY:
            super()._decode()
            return
        results: dict[str, Any] = {}
        failed: dict[str, BaseException] = {}
        for name, part in self.futures.items():
            try:
                results[name] = part.result(0)
            except Exception as error:
                failed[name] = error
        if failed:
            self._exception = MulticastError(failed, outcome.worker)
            self._exception.__cause__ = next(iter(failed.values()))
        else:
            self._result = results
        self._outcome = None


def _settle(outcome: Outcome, future: Future[Any]) -> tuple[Any, BaseException | None]:
    """What an outcome means to whoever waits for it: a result or an error."""
    code, frames = outcome.code, outcome.frames
    if code == wire.COMPLETED:
        try:
            return _decode_completed(frames), None
        except Exception as error:
            error.__cause__ = TaskyardError(
                "the task completed, but its result cannot be made here"
            )
            return None, error
    if code == wire.FAILED:
        if _codec.magic_of(frames) == _codec.COMMAND:
            return _codec.decode_command_result(frames), None
        return None, _codec.decode_error(frames)
    if code == wire.LOST:
        return None, WorkerLost(_lost(outcome, future), outcome.attempt)
    if code == wire.CANCELLED:
        return None, TaskCancelled(started=bool(outcome.detail & 1))
    if code == wire.TIMED_OUT:
        return None, TaskTimeout(started=outcome.detail != 0)
    if code == wire.REFUSED:
        return None, Refused(outcome.detail)
    if outcome.error is not None:
        return None, outcome.error
    return None, TaskyardError(f"an outcome that version 1 does not have: {code}")


def _decode_completed(frames: list[_codec.Frame]) -> Any:
    if _codec.magic_of(frames) == _codec.COMMAND:
        return _codec.decode_command_result(frames)
    return _codec.decode_value(frames)


def _lost(outcome: Outcome, future: Future[Any]) -> list[LostAttempt]:
    """Who lost it: the controller's list, or what we were told in passing."""
    rows = _lost_rows(b"".join(outcome.frames))
    if rows:
        first = outcome.attempt - len(rows) + 1
        return [
            LostAttempt(max(first + index, 0), worker, name or future._link.known_name(worker))
            for index, (worker, name) in enumerate(rows)
        ]
    lost = list(future._notices)
    if future._worker is not None and all(seen.attempt != outcome.attempt for seen in lost):
        lost.append(LostAttempt(outcome.attempt, future._worker[0], future.worker))
    return lost


def _lost_rows(payload: bytes) -> list[tuple[int, str]]:
    rows, at = [], 0
    while at + 5 <= len(payload):
        end = at + 5 + payload[at + 4]
        worker = int.from_bytes(payload[at : at + 4], "little")
        rows.append((worker, payload[at + 5 : end].decode(errors="replace")))
        at = end
    return rows


# --- several of them


def as_completed(
    futures: Iterable[concurrent.futures.Future[T]], timeout: float | None = None
) -> Iterator[concurrent.futures.Future[T]]:
    """Gives the futures as they are done, each once; those of several clients, and of other
    executors, may be among them. Raises :class:`TimeoutError` if not all are done in time."""
    wanted = list(dict.fromkeys(futures))
    links = {getattr(future, "_link", None) for future in wanted}
    if len(links) != 1 or None in links:
        return concurrent.futures.as_completed(wanted, timeout)
    return _as_completed(wanted, timeout)


def _as_completed(wanted: list[Any], timeout: float | None) -> Iterator[Any]:
    if not wanted:
        return
    link: Link = wanted[0]._link
    deadline = None if timeout is None else time.monotonic() + timeout
    waiter = Waiter()
    with link.lock:
        ready = [future for future in wanted if future.done()]
        open_ends = {future for future in wanted if not future.done()}
        for future in open_ends:
            future._waiters.append(waiter)
    try:
        while True:
            for future in ready:
                yield future
            if not open_ends:
                return
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            if not link.wait(waiter, left):
                raise WaitTimeout(f"{len(open_ends)} of {len(wanted)} futures have no outcome")
            with link.lock:
                ready, waiter.finished = waiter.finished, []
                waiter.ready = False
            ready = [future for future in ready if future in open_ends]
            open_ends.difference_update(ready)
    finally:
        if open_ends:
            with link.lock:
                for future in open_ends:
                    if waiter in future._waiters:
                        future._waiters.remove(waiter)


def gather(
    futures: Iterable[concurrent.futures.Future[T]], timeout: float | None = None
) -> list[T]:
    """The results of all, in the order of the futures; raises the first error in that order."""
    deadline = None if timeout is None else time.monotonic() + timeout
    results = []
    for future in futures:
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        results.append(future.result(left))
    return results
