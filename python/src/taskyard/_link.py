"""The client's socket, and who reads it.

All that touches the socket or the session holds one lock. What costs time is waking threads, so:

- A thread that submits sends at once, and takes in what has arrived meanwhile.
- A thread that waits for an outcome reads the socket itself: it is the *leader*. Others that wait
  are followers; a leader that goes wakes one of them to lead.
- A thread in the background reads when nobody else does: for callbacks, acknowledgements, and for a
  program that looks at its futures from time to time. As long as others come and go it rests, and
  looks again after some milliseconds.

Who polls may change at any time, since nobody reads without the lock. The descriptor of a ZeroMQ
socket is edge-triggered, and a send may swallow the edge: so whoever has made a call on the socket
asks it, before giving up the lock, whether there is something to read, and reads it.

A signal handler may raise (Ctrl-C) at any point of the main thread, also while it holds the lock.
``_is_inside`` is still true for the next one then: what has been interrupted is not known, so the
socket is made anew, and the session after it brings back all that is missing.
"""

from __future__ import annotations

import atexit
import os
import select
import struct
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import TimeoutError as WaitTimeout
from concurrent.futures._base import PENDING
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import zmq

from taskyard import _wire as wire
from taskyard._session import Question, Session, Standing
from taskyard.errors import ControllerLost, ForkedClient, TaskCancelled
from taskyard.futures import (
    OUTPUT_BYTES_MAX,
    STREAMS,
    Future,
    Output,
    Waiter,
    is_in_event_loop,
)

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from taskyard._codec import Frame

# A frame that is larger is received and sent without a copy.
_COPY_BYTES_MAX = 64 * 1024
# How long the background thread rests while others read, and while many tasks are submitted.
_REST_S = 0.005
_BURST_REST_S = 0.001
_BURST_SUBMITS = 8
# Nothing has come for so long: acknowledge what came.
_QUIET_S = 0.01
# How long anybody sleeps before looking whether the connection is still there.
_LOOK_S = 0.5
# After that, the connection file is read again: the controller may have new keys.
_RELOAD_S = 2.0
# An order about tasks, how long its answer may take, and the answer that says to ask again.
_ORDER = struct.Struct("<QQII")
_ORDER_S = 10.0
_BUSY = 3
# How long a client that leaves waits for its tasks to be stopped.
_STOP_S = 0.5
# Chunks of output that wait for their callbacks.
_OUTPUT_QUEUE_MAX = 1000

_EVENTS = zmq.EVENTS
_POLLIN = int(zmq.POLLIN)
_POLLOUT = int(zmq.POLLOUT)
_NOBLOCK = zmq.NOBLOCK
_SNDMORE_NOBLOCK = zmq.SNDMORE | zmq.NOBLOCK

_FORKED = "this client belongs to the parent process: make one here"
_REJECTIONS = {
    2: "it speaks another version of the protocol: take this package and controller together",
    4: "it has too many connections: raise its --clients-max",
    16: "it has too many clients: close some, or raise its --clients-max",
}

_links: weakref.WeakSet[Link] = weakref.WeakSet()


class Link:
    """One client's connection."""

    def __init__(
        self, connection: wire.Connection, *, lost_after_s: float, backlog_max: int
    ) -> None:
        self.connection = connection
        self.lock = threading.RLock()
        #: What all futures use for theirs.
        self.condition = threading.Condition(self.lock)
        self.session = Session(self)
        self.is_forked = False
        self.error: ControllerLost | None = None
        self._lost_after_s = lost_after_s
        self._backlog_max = backlog_max
        self._is_inside = False
        self._deferred: deque[Callable[[], None]] = deque()
        # Who waits and reads.
        self._leader: Waiter | None = None
        self._followers: list[Waiter] = []
        self._turns = 0
        self._submits = 0
        self._prompt = 0
        self._is_resting = False
        self._rests_deeply = False
        self._room_waiters: list[Waiter] = []
        self._is_closing = False
        self.is_closed = False
        self._rejection = 0
        self._callbacks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._callback_thread: threading.Thread | None = None
        self._output_queued = 0
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._context = zmq.Context[Any]()
        self._open()
        _links.add(self)
        self._thread = threading.Thread(target=self._background, name="taskyard", daemon=True)
        self._thread.start()

    # --- the lock

    def is_inside(self) -> bool:
        """Whether this very thread holds the lock: we are in a finalizer, or a signal handler."""
        return self.lock._is_owned()  # type: ignore[attr-defined,no-any-return]

    def _begin(self) -> None:
        """The session and the socket are about to be used; the lock is held. What is between this
        and ``_is_inside = False`` raises only if it is interrupted."""
        if self.is_forked:
            raise ForkedClient(_FORKED)
        if self._is_inside and " count=1 " in repr(self.lock):
            self._recover()
        self._is_inside = True

    def _recover(self) -> None:
        """Somebody was interrupted while it held the lock."""
        self._leader = None
        if not self.is_closed:
            self._open()
            self._wake()

    def _open(self) -> None:
        """A new socket: with it comes a new session."""
        old = getattr(self, "_socket", None)
        if old is not None:
            old.close(0)
        self.session.break_off()
        # The session keeps all that is sent anyway; so a send fails only without a connection.
        socket = wire.open_socket(self._context, self.connection, send_max=0)
        self._socket = socket
        self._send_raw = socket.send
        self._recv_raw = socket.recv
        self._get = socket.get
        self._descriptor = int(socket.get(zmq.FD))
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)
        self._poll_background = select.poll()
        self._poll_background.register(self._descriptor, select.POLLIN)
        self._poll_background.register(self._wake_read, select.POLLIN)

    # --- what the session asks of us (see ``Port``)

    def send(self, first: bytes) -> bool:
        """Sends a message of one frame."""
        try:
            self._send_raw(first, _NOBLOCK)
        except zmq.Again:
            return False
        return True

    def send_frames(self, frames: list[Frame]) -> bool:
        """Sends a message of several frames, large ones without copying them."""
        last = len(frames) - 1
        try:
            for index, frame in enumerate(frames):
                size = frame.nbytes if isinstance(frame, memoryview) else len(frame)
                flags = _NOBLOCK if index == last else _SNDMORE_NOBLOCK
                self._send_raw(frame, flags, copy=size < _COPY_BYTES_MAX)
        except zmq.Again:
            return False
        return True

    def on_done(self, task: Future[Any]) -> None:
        """A task is done: its callbacks have their turn."""
        loops, task._loops = task._loops, ()
        for loop, done in loops:
            self._prompt -= 1
            try:
                loop.call_soon_threadsafe(done)
            except RuntimeError:
                # That loop is closed: nobody waits there any more.
                pass
        if task._done_callbacks:
            self._prompt -= 1
            self._call(task._run_callbacks)

    def on_output(
        self, task: Future[Any], stream: int, data: bytes, dropped: int, lost: int
    ) -> None:
        """A task has written something; ``dropped`` bytes of it so far never left the worker, and
        ``lost`` messages of whatever tasks of ours never left the controller."""
        name = STREAMS[stream]
        if task._outputs is None:
            task._outputs = {}
        output = task._outputs.setdefault(name, Output())
        task._dropped_there = max(task._dropped_there, dropped)
        if lost:
            for other in self.session.tasks.values():
                other._output_lost_on_the_way = True
        text = output.decoder.decode(data)
        if output.kept + len(data) > OUTPUT_BYTES_MAX:
            task._dropped_here += len(data)
        else:
            output.kept += len(data)
            output.chunks.append(text)
        if task._on_output:
            if self._output_queued >= _OUTPUT_QUEUE_MAX:
                task._dropped_here += len(data)
                return
            self._output_queued += 1
            run = partial(self._run_output, task, task._on_output, name, text, queued=True)
            self._call(run)

    def on_rejected(self, code: int) -> None:
        """The controller does not let us in: it may later, unless it speaks another language."""
        self._rejection = code
        if code == 2:
            self._lose()

    # --- reading

    def _drain(self) -> None:
        """Takes in what has arrived, until the socket says that there is nothing."""
        handle, recv, get = self.session.handle, self._recv_raw, self._get
        while get(_EVENTS) & _POLLIN:  # type: ignore[operator]
            first = recv(_NOBLOCK)
            if len(first) >= 4 and first[3]:
                handle(first, self._recv_rest())
            else:
                handle(first, ())

    def _recv_rest(self) -> list[Frame]:
        """The frames behind the first. Small ones are copied: they would hold on to the buffer in
        which they arrived, with others."""
        frames: list[Frame] = []
        more = self._get(zmq.RCVMORE)
        while more:
            frame = self._recv_raw(_NOBLOCK, copy=False)
            more = frame.more
            frames.append(frame.buffer if len(frame) >= _COPY_BYTES_MAX else frame.bytes)
        return frames

    def _finish(self) -> None:
        """The end of a call on the socket: nothing may be left that no edge will tell of."""
        while self._deferred:
            self._deferred.popleft()()
        self._drain()
        if self._room_waiters and self._has_room():
            self._tell_room()
        self._is_inside = False

    def _tell_room(self) -> None:
        waiters, self._room_waiters = self._room_waiters, []
        for waiter in waiters:
            waiter.ready = True
            waiter.wake()

    # --- submitting

    def submit(self, task: Future[Any]) -> None:
        """Sends a task. If too many wait already, it waits until one has gone."""
        if self.is_inside():
            self._deferred.append(lambda: self.session.submit(task))
            return
        if not self._has_room():
            self._wait_for_room()
        with self.lock:
            if self.error is not None:
                raise self.error
            if self._is_closing:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._begin()
            self._submits += 1
            self.session.submit(task)
            self._finish()

    def _has_room(self) -> bool:
        session = self.session
        return len(session.tasks) < session.quota + self._backlog_max

    def _wait_for_room(self) -> None:
        if is_in_event_loop():
            return
        while not self._has_room() and self.error is None and not self._is_closing:
            waiter = Waiter()
            with self.lock:
                self._room_waiters.append(waiter)
            self.wait(waiter, 1.0)

    def cancel(self, task: Future[Any]) -> None:
        """Asks for a task to be taken away."""
        if self.is_inside():
            self._deferred.append(lambda: self.session.cancel(task))
            return
        with self.lock:
            if self.is_closed:
                return
            self._begin()
            self.session.cancel(task)
            self._finish()

    def withdraw(self, tasks: list[Future[Any]]) -> list[int]:
        """Cancels those of the tasks that were never sent, and gives the ids of the others."""
        with self.lock:
            self._begin()
            left = [task._id for task in tasks if self.session.withdraw(task)]
            self._finish()
        return left

    # --- waiting

    def wait(self, waiter: Waiter, timeout: float | None) -> bool:
        """Waits until a waiter is ready; false if it is not in time."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if self.is_inside():
            raise RuntimeError("a finalizer or a signal handler cannot wait for a task here")
        if self.is_forked:
            raise ForkedClient(_FORKED)
        while not waiter.ready and not self.is_closed:
            with self.lock:
                leads = self._leader is None
                if leads:
                    self._leader = waiter
                    self._turns += 1
                elif not waiter.ready:
                    waiter.gate = gate = threading.Lock()
                    gate.acquire()
                    self._followers.append(waiter)
            if leads:
                self._lead(waiter, deadline)
            elif not waiter.ready:
                self._follow(waiter, gate, deadline)
            if deadline is not None and time.monotonic() >= deadline:
                break
        with self.lock:
            self._pass_on(waiter)
        return waiter.ready

    def _follow(self, waiter: Waiter, gate: threading.Lock, deadline: float | None) -> None:
        """Waits until the waiter is ready or has to lead; not for ever, since a leader that was
        interrupted may have gone without a word."""
        left = 1.0 if deadline is None else min(deadline - time.monotonic(), 1.0)
        try:
            gate.acquire(timeout=max(left, 0.0))
        finally:
            with self.lock:
                waiter.gate = None
                if waiter in self._followers:
                    self._followers.remove(waiter)

    def _lead(self, waiter: Waiter, deadline: float | None) -> None:
        """Reads until the waiter is ready, or it is time."""
        quiet_ms = wait_ms = _QUIET_S * 1000
        try:
            while True:
                with self.lock:
                    if waiter.ready or self.is_closed or self._leader is not waiter:
                        return
                    self._begin()
                    self._finish()
                    if waiter.ready or self.is_closed:
                        return
                    self._turns += 1
                    poll = self._poll
                left_ms = wait_ms
                if deadline is not None:
                    left_ms = (deadline - time.monotonic()) * 1000
                    if left_ms <= 0:
                        return
                if poll.poll(min(wait_ms, left_ms)):
                    wait_ms = quiet_ms
                else:
                    wait_ms = _LOOK_S * 1000
                    self._look()
        finally:
            with self.lock:
                if self._leader is waiter:
                    self._leader = None

    def _pass_on(self, waiter: Waiter) -> None:
        """A waiter goes: if nobody leads now, somebody else has to."""
        if self._leader is waiter:
            self._leader = None
        if self._leader is None:
            if self._followers:
                self._followers.pop().wake()
            elif self._is_resting and (self._rests_deeply or self._prompt):
                self._wake()

    def _look(self) -> None:
        """What has to be looked at from time to time. Nothing has come for a while."""
        session = self.session
        with self.lock:
            if self.is_closed or self.error is not None:
                return
            self._begin()
            session.acknowledge()
            session.pump()
            if session.standing is Standing.UP:
                if not self._get(_EVENTS) & _POLLOUT:  # type: ignore[operator]
                    session.break_off()
            else:
                self._look_for_it(time.monotonic() - session.since)
            self._finish()

    def _look_for_it(self, away_s: float) -> None:
        """There is no session, since so many seconds."""
        if away_s > self._lost_after_s:
            self._lose()
        elif self._rejection and self.session.standing is Standing.GREETING:
            self.session.introduce()
        elif away_s > _RELOAD_S:
            self._reload()

    def _reload(self) -> None:
        """The controller is away. If its connection file says something new, that holds."""
        path = self.connection.path
        if path is None:
            return
        try:
            found = wire.Connection.load(path)
        except ValueError:
            return
        if found != self.connection:
            self.connection = found
            self._open()
            self._wake()

    def _lose(self) -> None:
        """The controller is gone for good."""
        if self.error is not None:
            return
        why = _REJECTIONS.get(
            self._rejection, f"nothing was heard of it for {self._lost_after_s} s"
        )
        self.error = ControllerLost(
            f"the controller at {self.connection.endpoint} is lost: {why}; tasks without an "
            "outcome may have run"
        )
        self.session.abandon(self.error)
        self._wake()

    # --- the background

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"!")
        except (BlockingIOError, OSError):
            # It is full of wake-ups already.
            pass

    def _background(self) -> None:
        turns = submits = -1
        idle_ms: float | None = None
        while True:
            with self.lock:
                if self.is_closed:
                    return
                rest_s = self._rest_s(self._turns != turns, self._submits - submits)
                turns, submits = self._turns, self._submits
                self._is_resting = rest_s > 0
                self._rests_deeply = rest_s > _LOOK_S
                if not rest_s:
                    self._leader = None
                    self._begin()
                    self._finish()
                    idle_ms = self._idle_ms()
                poll = self._poll_background
            if rest_s:
                select.select([self._wake_read], [], [], rest_s)
            elif not poll.poll(idle_ms):
                self._look()
            self._unwake()
            if self._close_when_done():
                return

    def _rest_s(self, others_read: bool, submits: int) -> float:
        """How long the background thread leaves the socket to others; 0: it reads itself.
        ``others_read`` says whether somebody did since it was here last."""
        if self._leader is not None:
            if others_read:
                return _REST_S
            # A leader gives a sign of life more often: one that did not is gone.
            return 0 if self._rests_deeply else 4 * _LOOK_S
        if self._prompt:
            return 0
        if others_read:
            return _REST_S
        return _BURST_REST_S if submits >= _BURST_SUBMITS else 0

    def _unwake(self) -> None:
        try:
            os.read(self._wake_read, 4096)
        except (BlockingIOError, OSError):
            pass

    def _idle_ms(self) -> float | None:
        """How long nothing has to be looked at."""
        session = self.session
        if session.unacked:
            return _QUIET_S * 1000
        if session.unsent:
            return 50
        if session.standing is not Standing.UP or session.tasks:
            return None if self.error is not None else _LOOK_S * 1000
        return None

    # --- callbacks

    def add_callback(self, task: Future[Any], fn: Callable[[Any], object]) -> bool:
        """Notes a callback; false if the task is done already."""
        with self.lock:
            if task._state is not PENDING:
                return False
            if not task._done_callbacks:
                self._prompt += 1
            task._done_callbacks.append(fn)
            self._hurry()
        return True

    def add_loop(
        self, task: Future[Any], loop: AbstractEventLoop, done: Callable[[], None]
    ) -> bool:
        """Notes what an event loop is told; false if the task is done already."""
        with self.lock:
            if task._state is not PENDING:
                return False
            self._prompt += 1
            task._loops = (*task._loops, (loop, done))
            self._hurry()
        return True

    def add_output_callback(self, task: Future[Any], fn: Callable[[str, str], object]) -> None:
        """Notes who is told what a task writes, and tells what it has written."""
        with self.lock:
            task._on_output = (*task._on_output, fn)
            for stream, output in (task._outputs or {}).items():
                self._call(partial(self._run_output, task, (fn,), stream, "".join(output.chunks)))

    def _run_output(
        self,
        task: Future[Any],
        callbacks: tuple[Callable[[str, str], object], ...],
        stream: str,
        text: str,
        *,
        queued: bool = False,
    ) -> None:
        if queued:
            self._output_queued -= 1
        for callback in callbacks:
            task._run_callback(partial(_tell, callback, stream, text))

    def _hurry(self) -> None:
        """Somebody wants to be told at once: the background thread must not rest."""
        if self._is_resting and self._leader is None:
            self._wake()

    def _call(self, callback: Callable[[], None]) -> None:
        if self._callback_thread is None:
            thread = threading.Thread(
                target=_run_all, args=(self._callbacks,), name="taskyard-callbacks", daemon=True
            )
            self._callback_thread = thread
            thread.start()
        self._callbacks.put(callback)

    # --- questions

    def ask(self, kind: int, timeout: float, body: bytes = b"", **fields: int) -> Question | None:
        """Asks the controller something; None if there is no answer in time."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.error is None and not self.is_closed:
            waiter = Waiter()
            question = Question(waiter)
            with self.lock:
                self._begin()
                number = self.session.ask(kind, question, body, **fields)
                self._finish()
            if not number:
                # Between two sessions.
                time.sleep(0.01)
                continue
            self.wait(waiter, max(deadline - time.monotonic(), 0.0))
            with self.lock:
                self.session.questions.pop(number, None)
            if question.answer is not None:
                return question
        return None

    def order(self, code: int, selection: int, task_id: int) -> None:
        """Gives an order about tasks of our own; again, as long as the controller is busy."""
        body = _ORDER.pack(0, task_id, 0, 0)
        for _ in range(100):
            question = self.ask(wire.CONTROL, _ORDER_S, body, code=code, extra=selection)
            if question is None or question.answer is None or question.answer.extra != _BUSY:
                return
            time.sleep(0.01)

    def name_of(self, place: tuple[int, int]) -> str:
        """The name of a worker; empty if it is not known. The question was sent when it was first
        heard of, so the answer cannot be far."""
        name = self.session.names.get(place)
        may_ask = not (self.is_closed or is_in_event_loop() or self.is_inside())
        if name is None and may_ask:
            self.ask(wire.IS_ALIVE, 1.0, code=wire.TOPIC_WORKER, worker=place[0])
            # If there is no name for it now, do not ask again.
            name = self.session.names.setdefault(place, "")
        return name or self.known_name(place[0])

    def known_name(self, worker: int) -> str:
        """The name that the worker at this place has or had, as far as is known."""
        return next(
            (name for (seen, _), name in list(self.session.names.items()) if seen == worker), ""
        )

    # --- the beginning and the end

    def wait_until_up(self, timeout: float) -> None:
        """Waits for the first session. Raises :class:`ControllerLost` if there is none in time."""
        deadline = time.monotonic() + timeout
        waiter = Waiter()
        while self.session.standing is not Standing.UP and self.error is None:
            left = deadline - time.monotonic()
            if left <= 0 or self._rejection:
                why = _REJECTIONS.get(self._rejection, f"no answer within {timeout} s")
                if not self._rejection:
                    why += "; is it running, and is this its present connection file?"
                raise ControllerLost(f"the controller at {self.connection.endpoint}: {why}")
            self.wait(waiter, min(left, 0.005))
        if self.error is not None:
            raise self.error

    def shut_down(self) -> None:
        """Takes no more tasks, and closes when the last has its outcome."""
        with self.lock:
            self._is_closing = True
            if not self.is_closed:
                self._wake()

    def _close_when_done(self) -> bool:
        if not self._is_closing or self.session.tasks:
            return False
        self.close(None)
        return True

    def _stop_tasks(self) -> None:
        """Cancels all tasks, since a goodbye lets what runs run to its end, for nobody. Waits for
        what comes of it, but not for long."""
        with self.lock:
            self._is_closing = True
            if self.is_closed or self.session.standing is not Standing.UP:
                return
            self._begin()
            tasks = list(self.session.tasks.values())
            for task in tasks:
                self.session.cancel(task)
            self._finish()
        until = time.monotonic() + _STOP_S
        for task in tasks:
            try:
                task._wait(max(until - time.monotonic(), 0.0))
            except WaitTimeout:
                return

    def close(self, error: BaseException | None) -> None:
        """Leaves at once. Tasks without an outcome are dropped, and get ``error`` for one."""
        if error is not None:
            self._stop_tasks()
        with self.lock:
            self._is_closing = True
            if self.is_closed:
                return
            self._begin()
            if error is not None:
                self.session.abandon(error)
            if self.error is None:
                self.session.goodbye()
            self.is_closed = True
            self._socket.close(1000)
            self._callbacks.put(None)
            followers, self._followers = self._followers, []
            for follower in followers:
                follower.wake()
            self._tell_room()
            self._wake()
            self._is_inside = False
        if threading.current_thread() is not self._thread:
            self._thread.join(2.0)
        # What is left to send may take its second.
        self._context.term()
        _links.discard(self)
        with self.lock:
            # Whoever still waits for us must not write into what has the same number next.
            read, self._wake_read = self._wake_read, -1
            write, self._wake_write = self._wake_write, -1
        os.close(write)
        os.close(read)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def _run_all(callbacks: SimpleQueue[Callable[[], None] | None]) -> None:
    """Runs what is put into the queue, until None is."""
    while True:
        callback = callbacks.get()
        if callback is None:
            return
        try:
            callback()
        except BaseException:
            # One that ends its thread, ``sys.exit()`` say, must not end the callbacks of others.
            import logging

            logging.getLogger("taskyard").exception("a callback wanted to end its thread")
        del callback


def _tell(callback: Callable[[str, str], object], stream: str, text: str, _task: object) -> None:
    callback(stream, text)


def _close_all() -> None:
    """The program ends: the controller shall know that nobody waits for outcomes any more."""
    for link in list(_links):
        if not link.is_forked:
            link.close(TaskCancelled(started=True, reason="the program ends"))


def _after_fork() -> None:
    """In a child process nothing of a client works: its threads are not there, and its lock may be
    held by one of them for ever."""
    for link in list(_links):
        link.is_forked = True
        link.is_closed = True
        link.lock = threading.RLock()
        # In place: all futures have it.
        threading.Condition.__init__(link.condition, link.lock)
    _links.clear()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork)
