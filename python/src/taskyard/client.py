"""The client: an executor whose tasks run on the workers of a controller."""

from __future__ import annotations

import concurrent.futures
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from taskyard import _codec, _entered, _functions
from taskyard import _wire as wire
from taskyard._link import Link
from taskyard._session import Route
from taskyard.errors import TaskCancelled
from taskyard.futures import Future, Multicast, gather

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Unpack

    from taskyard.progress import Bar

T = TypeVar("T")

PRIORITY = 3
_PRIORITY_MAX = 7
_U32_MAX = 0xFFFFFFFF


class Options(TypedDict, total=False):
    """How tasks are run; see :meth:`View.options`."""

    priority: int
    retries: int
    attempts_on_loss: int
    start_within: float
    finish_within: float
    on_output: Callable[[str, str], object]


class View(concurrent.futures.Executor):
    """Some of the workers of a client, as an executor: ``client.any``, ``client.worker("gpu-3")``,
    ``client.label("gpu")``. Views of one client share its connection and are made in no time."""

    _future_class: type[Future[Any]] = Future

    def __init__(self, link: Link, topic: Route, options: Options) -> None:
        self._link = link
        self._topic = topic
        self._options = options
        self._route = _route(topic, options)
        self._on_output = options.get("on_output")
        self._is_shut_down = False

    # --- which view

    def options(self, **options: Unpack[Options]) -> View:
        """The same workers, with other options for the tasks that are submitted through it.

        - ``priority``: 0 to 7, 7 is the most urgent; 3 without it.
        - ``retries``: how often a task runs again after it *raised*; 0 without it.
        - ``attempts_on_loss``: how often a task may be *started*, if workers are lost with it. For
          any worker it is 3 without it, so a task may run twice; for named workers it is 1.
        - ``start_within``, ``finish_within``: seconds from when the controller has it; a task that
          takes longer ends with :class:`~taskyard.errors.TaskTimeout`.
        - ``on_output``: called as ``on_output(stream, text)`` with what the tasks write.
        """
        return View(self._link, self._topic, self._merged(options))

    def _merged(self, options: Options) -> Options:
        merged = self._options.copy()
        merged.update(options)
        return merged

    # --- the executor

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Has ``fn(*args, **kwargs)`` called by a worker, and gives a future for what it returns.

        The function and its arguments are pickled now. Large arrays are not copied: do not change
        them before the task is done. If more tasks wait than ``backlog_max``, this waits (in a
        thread that runs an event loop it does not).

        Raises :class:`~taskyard.errors.NotSerializable` if something cannot be pickled,
        :class:`RuntimeError` after the shutdown, and
        :class:`~taskyard.errors.ControllerLost` if the controller is gone for good.
        """
        future: Future[T] = self._submit(_codec.encode_call(fn, args, kwargs))
        return future

    def submit_command(
        self,
        command: str | Sequence[str],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Future[_codec.CommandResult]:
        """Has a worker run a program: a list of arguments, or a text for the shell. The future's
        result tells the exit code and the output, whatever the code is."""
        is_shell = isinstance(command, str)
        frames = _codec.encode_command(
            _codec.Command(
                argv=None if is_shell else list(command),
                shell=command if isinstance(command, str) else None,
                cwd=None if cwd is None else os.fspath(cwd),
                env=None if env is None else dict(env),
            )
        )
        future: Future[_codec.CommandResult] = self._submit(frames)
        return future

    def _submit(self, frames: list[_codec.Frame]) -> Any:
        link = self._link
        if self._is_shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future = self._future_class(link, self._route, frames)
        if self._on_output is not None:
            future.on_output(self._on_output)
        link.submit(future)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        progress: bool | str = False,
    ) -> Iterator[T]:
        """As :func:`map`, on the workers: all is submitted now, and results are given in order.

        With a ``chunksize`` several calls travel in one task, which pays for short ones. Raises
        :class:`TimeoutError` if a result is not there ``timeout`` seconds from now; what is left
        when the iterator is given up is cancelled. ``progress`` draws a bar on a terminal or in a
        notebook; a text is what stands in front of it.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1")
        deadline = None if timeout is None else time.monotonic() + timeout
        calls = zip(*iterables, strict=False)
        if chunksize == 1:
            futures = [self.submit(fn, *call) for call in calls]
            bar = _bar(progress, futures, len(futures), 1)
            return _Results(futures, deadline, bar)
        pickled = _functions.dumps(fn)
        count = 0
        chunks: list[Future[Iterable[T]]] = []
        for chunk in _chunks(calls, chunksize):
            count += len(chunk)
            chunks.append(self.submit(_functions.run_chunk, pickled, chunk))
        bar = _bar(progress, chunks, count, chunksize)
        by_chunk = _Results(chunks, deadline, bar)
        return itertools.chain.from_iterable(map(self._results_of, by_chunk))

    def _results_of(self, chunk: Any) -> Iterable[Any]:
        """What the single calls of a chunk returned."""
        results: Iterable[Any] = chunk
        return results

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more tasks through this view; ``cancel_futures`` takes away those that have not
        started. The client and its other views go on."""
        self._is_shut_down = True
        tasks = self._tasks()
        if cancel_futures:
            _sweep(self._link, tasks)
        if wait:
            concurrent.futures.wait(tasks)

    def _tasks(self) -> list[Future[Any]]:
        """The futures of this view that have no outcome yet."""
        with self._link.lock:
            return [
                task for task in self._link.session.tasks.values() if task._route is self._route
            ]


class AllView(View):
    """All workers of a client: what is submitted runs once on each that is there at that moment."""

    _future_class = Multicast

    def submit(  # type: ignore[override]
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Multicast:
        """As :meth:`View.submit`, for each worker: pickled once, and sent once."""
        future: Multicast = self._submit(_codec.encode_call(fn, args, kwargs))
        return future

    def _results_of(self, chunk: dict[str, list[Any]]) -> Iterable[Any]:
        return (dict(zip(chunk, row, strict=True)) for row in zip(*chunk.values(), strict=True))

    def options(self, **options: Unpack[Options]) -> AllView:
        """As :meth:`View.options`."""
        return AllView(self._link, self._topic, self._merged(options))


class Client(View):
    """A client of a controller: an executor that runs tasks on any of its workers.

    ``target`` says where the controller is: a ``Cluster``, a connection file or a folder with one;
    without it ``TASKYARD_CONNECT`` does, or the newest file in the state folder.

    - ``connect_timeout``: how long to wait for the controller at first, in seconds.
    - ``lost_after``: how long a controller may be away before it counts as gone for good. Until
      then its restart goes unnoticed.
    - ``backlog_max``: how many tasks may wait here, beyond those that the controller takes from one
      client, before :meth:`submit` waits.

    Use it in a ``with`` statement: its end waits for what was submitted; after an exception, Ctrl-C
    among them, what is left is dropped at once. A client that is never closed says goodbye when the
    program ends, which drops what has no outcome.

    A client may be used by many threads, and in asyncio: futures can be awaited, and nothing blocks
    the loop. It cannot be used in a forked child process.
    """

    def __init__(
        self,
        target: object = None,
        *,
        connect_timeout: float = 10.0,
        lost_after: float = 30.0,
        backlog_max: int = 100_000,
    ) -> None:
        link = Link(_connection(target), lost_after_s=lost_after, backlog_max=backlog_max)
        try:
            link.wait_until_up(connect_timeout)
        except BaseException as error:
            link.close(error)
            raise
        super().__init__(link, Route(), {})

    # --- views

    @property
    def any(self) -> View:
        """Any worker, the least busy: as the client itself."""
        return View(self._link, Route(), {})

    @property
    def all(self) -> AllView:
        """All workers that are there when a task is submitted."""
        return AllView(self._link, Route(code=wire.TOPIC_ALL), {})

    def worker(self, which: int | str) -> View:
        """Exactly this worker, by its name or its place."""
        if isinstance(which, int):
            _count("a worker's place", which, _U32_MAX)
            return View(self._link, Route(code=wire.TOPIC_WORKER, worker=which), {})
        topic = Route(
            code=wire.TOPIC_NAME,
            flags=wire.NAMED,
            sections=wire.text_section(which),
            name=which,
        )
        return View(self._link, topic, {})

    def label(self, label: str) -> View:
        """Any of the workers that carry this label."""
        if len(label.encode()) > 63:
            raise ValueError(f"{label!r} is too long for a label: it has 63 bytes at most")
        sections = wire.text_section(label)
        return View(
            self._link, Route(code=wire.TOPIC_LABEL, flags=wire.NAMED, sections=sections), {}
        )

    def is_alive(self, which: int | str, timeout: float = 10.0) -> bool:
        """Whether a worker is there, by its name or its place, as far as the controller knows."""
        view = self.worker(which)._topic
        question = self._link.ask(
            wire.IS_ALIVE,
            timeout,
            view.sections,
            code=view.code,
            worker=view.worker,
            flags=view.flags,
        )
        if question is None or question.answer is None:
            raise self._link.error or concurrent.futures.TimeoutError(
                f"the controller did not answer in {timeout} s"
            )
        return question.answer.code == 1

    def gather(
        self, futures: Iterable[concurrent.futures.Future[T]], timeout: float | None = None
    ) -> list[T]:
        """As :func:`taskyard.gather`."""
        return gather(futures, timeout)

    # --- the end

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more tasks, and leaves the controller when the last has its outcome.
        ``cancel_futures`` takes away those that have not started; ``wait`` waits."""
        self._is_shut_down = True
        link = self._link
        link.shut_down()
        if link.is_closed:
            return
        with link.lock:
            tasks = list(link.session.tasks.values())
        if cancel_futures:
            _sweep(link, tasks, all_of_them=True)
        if wait:
            concurrent.futures.wait(tasks)
            link.close(None)

    def close(self) -> None:
        """Leaves at once: tasks without an outcome are dropped, and stopped if they run."""
        self._is_shut_down = True
        self._link.close(TaskCancelled(started=True, reason="the client was closed"))

    def __enter__(self) -> Client:
        # What a library submits within the `with` statement goes there too.
        _entered.enter(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        _entered.leave(self)
        if kind is None:
            self.shutdown(wait=True)
        else:
            self.close()
        return None


def _connection(target: object) -> wire.Connection:
    """The connection that ``target`` stands for."""
    if isinstance(target, wire.Connection):
        return target
    path = getattr(target, "client_connection", target)
    if path is not None and not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f"a client needs a Cluster, a connection file or a folder; this is a {type(target)}"
        )
    return wire.find_connection("client", path)


def _route(topic: Route, options: Options) -> Route:
    """The part of a *Submit* that is the same for all tasks with these options."""
    unknown = set(options) - set(Options.__annotations__)
    if unknown:
        raise TypeError(f"unknown option: {', '.join(sorted(unknown))}")
    flags, sections = topic.flags, topic.sections
    start_ms = _milliseconds("start_within", options.get("start_within"))
    finish_ms = _milliseconds("finish_within", options.get("finish_within"))
    if start_ms or finish_ms:
        flags |= wire.DEADLINES
        sections += wire.DEADLINES_SECTION.pack(start_ms, finish_ms)
    priority = _count("priority", options.get("priority", PRIORITY), _PRIORITY_MAX)
    retries = _count("retries", options.get("retries", 0), 255)
    if priority != PRIORITY or retries:
        flags |= wire.OPTIONS
        sections += wire.OPTIONS_SECTION.pack(priority, retries, 0, 0)
    attempts = 0
    if "attempts_on_loss" in options:
        attempts = _count("attempts_on_loss", options["attempts_on_loss"], 255)
        if not attempts:
            raise ValueError("attempts_on_loss counts the first attempt too: it is 1 at least")
    return topic._replace(flags=flags, sections=sections, attempts=attempts)


def _count(name: str, value: int, most: int) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}; it has to be a whole number")
    if not 0 <= value <= most:
        raise ValueError(f"{name} is {value}; it can be 0 to {most}")
    return value


def _milliseconds(name: str, value: float | None) -> int:
    if value is None:
        return 0
    if value <= 0:
        raise ValueError(f"{name} is {value} s; it has to be more than 0")
    return min(max(round(value * 1000), 1), _U32_MAX)


def _chunks(calls: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while chunk := list(itertools.islice(calls, size)):
        yield chunk


def _bar(
    progress: bool | str, futures: list[Future[Any]], count: int, per_future: int
) -> Bar | None:
    """What shows how many calls have ended, if somebody wants to see it."""
    if not progress:
        return None
    from taskyard.progress import track

    desc = progress if isinstance(progress, str) else None
    return track(futures, count, desc, per_future=per_future)


class _Results(Iterator[T]):
    """The results in order; what is left when nobody wants them any more is cancelled. (A generator
    that was never started would not see its end.)"""

    def __init__(
        self, futures: list[Future[T]], deadline: float | None, bar: Bar | None = None
    ) -> None:
        self._futures = futures[::-1]
        self._deadline = deadline
        self._bar = bar

    def __next__(self) -> T:
        if not self._futures:
            self.close()
            raise StopIteration
        left = None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)
        try:
            result = self._futures[-1].result(left)
        except BaseException:
            self.close()
            raise
        self._futures.pop()
        return result

    def close(self) -> None:
        """Cancels what is left."""
        futures, self._futures = self._futures, []
        for future in futures:
            future._request_cancel()
        if self._bar is not None:
            # Whoever has all results need not wait for the thread that counts them.
            self._bar.close(complete=not futures)
            self._bar = None

    def __del__(self) -> None:
        self.close()


# *Control*: take away what has not started; of all tasks of the client, or of one.
_SWEEP = 5
_ALL_OF_MINE = 0
_ONE_OF_MINE = 1


def _sweep(link: Link, tasks: list[Future[Any]], *, all_of_them: bool = False) -> None:
    """Takes away those of the tasks that have not started."""
    left = link.withdraw(tasks)
    if all_of_them and left:
        link.order(_SWEEP, _ALL_OF_MINE, 0)
        return
    for task_id in left:
        link.order(_SWEEP, _ONE_OF_MINE, task_id)
