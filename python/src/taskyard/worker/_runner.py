"""A worker's process: receives tasks, runs them, reports.

The main thread owns the socket: it receives, runs and sends without ever handing over to another
thread, as long as functions are short. While one runs for longer, the watcher thread listens in its
place, so that an abort, a drain or a task that is asked back is heard:

1. The main thread, before it runs a function, arms a timer, unless it is armed already. That wakes
   nobody. It holds the lock whenever it touches the socket, and never while a function runs.
2. The watcher sleeps on the timer. When it goes off and the present function has run for less than
   ``_WATCH_AFTER_NS``, it arms the timer for the rest. Otherwise it takes the lock, receives until
   there is nothing, gives the lock back, and sleeps on the socket's descriptor without it.
3. Whoever has touched the socket receives until there is nothing before it sleeps on the
   descriptor: that one tells of *changes* only, and any call on the socket may have used one up.
   The main thread may run a function without having done so, since the watcher begins with it.

With more slots than one, other threads run functions too: they report under the lock themselves,
and the watcher listens as soon as the main thread is busy.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

import zmq

from taskyard import _process
from taskyard import _wire as wire

from . import _board, _current
from ._execute import Executor
from ._link import Link
from ._options import Options
from ._output import CHUNK_BYTES_MAX, Capture, Printed, ThreadStream, own_pipes
from ._session import ABORTED, Abort, Assignment, Event, Frames, Session, Task
from ._slot import ABORT_SIGNAL, Slot, TaskAborted
from ._timer import Timer

if TYPE_CHECKING:
    from ._nanny import Place

_WATCH_AFTER_NS = 5_000_000
# How often the watcher shows that it can hear; how soon output is passed on at the latest.
_TICK_MS = 200
_OUTPUT_MS = 40
_SOON_MS = 10
# How often it is looked whether there still is a connection, where that matters.
_LOOK_MS = 500
# How long results may take to be acknowledged before a worker leaves without.
_LEAVE_S = 2.0
_RETRY_MIN_S = 0.1
_RETRY_MAX_S = 2.0
# So long a worker that shall not wait for a controller to come back has no connection.
_GONE_S = 3.0

# Rejections after which another try is as good as none: malformed, version, kind.
_FINAL_REJECTIONS = {1: "malformed", 2: "another version of the protocol", 3: "unknown kind"}
_REJECTIONS = {
    4: "it has too many connections",
    32: "another process has this name",
    33: "the registration came late",
    34: "it has as many workers as it takes",
}


class Runner:
    """One worker's process. :meth:`run` is called once, on the main thread."""

    def __init__(self, options: Options, place: Place | None = None) -> None:
        self._options = options
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._slots = [Slot(index) for index in range(options.slots)]
        self._main = self._slots[0]
        self._main.thread = threading.get_ident()
        self._main_task: Task | None = None
        self._overflow: list[Task] = []
        board = place.board if place else _board.Board()
        self._words = board.words
        self._lifeline = place.lifeline if place else -1
        stdout, stderr = (place.stdout, place.stderr) if place else own_pipes()
        self._capture = self._redirect_output(stdout, stderr)
        self._timer = Timer()
        self._timer_is_armed = False
        self._kick_main = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._kick_watcher = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._main_poll = self._poll_set(self._kick_main, output=True)
        watched = (self._kick_watcher, self._lifeline)
        self._watcher_poll = self._poll_set(*watched, output=True)
        self._watcher_quiet = self._poll_set(*watched, output=False)
        self._watch_at_once = options.slots > 1
        # Bytes that the nanny had thrown away when it was last looked.
        self._dropped_before = 0
        self._interrupts = 0
        self._drain_asked = False
        self._draining = False
        self._leave_by: float | None = None
        # The controller has said that it has all results, and nothing more for us.
        self._has_all = False
        self._retry_at: float | None = None
        self._retry_s = _RETRY_MIN_S
        self._lost_since: float | None = None
        self._code: int | None = None
        self._payload_max = 0
        self._executor = Executor(options.name)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._link = Link(self._context, wire.find_connection("worker", options.connect))
        self._session = Session(
            options.name,
            int.from_bytes(os.urandom(8), "little"),
            options.slots,
            options.prefetch,
            options.labels,
            self._send,
        )

    def _redirect_output(self, stdout: tuple[int, int], stderr: tuple[int, int]) -> Capture | None:
        if len(self._slots) == 1:
            capture = Capture(stdout, stderr)
            self._outside = capture.outside
            return capture
        self._outside = os.dup(2)
        _process.close_all((*stdout, *stderr))
        os.dup2(self._outside, 1)
        sys.stdout = ThreadStream(1, self._outside, self._printed_here)
        sys.stderr = ThreadStream(2, self._outside, self._printed_here)
        return None

    def _printed_here(self) -> Printed | None:
        slot = _current.slot_here()
        return slot.printed if slot is not None and slot.assignment is not None else None

    # --- the main thread

    def run(self) -> int:
        """Until the worker leaves; gives the process's exit code."""
        self._prepare()
        while self._code is None:
            with self._lock:
                if self._drain_asked:
                    self._begin_drain()
                self._drain_socket()
                task, self._main_task = self._main_task, None
                if task is None:
                    timeout_ms = self._look_around()
                    poll = self._main_poll()
            if task is not None:
                self._run(self._main, task)
                # What it was given may be large.
                task = None
            elif self._code is None:
                self._wait(poll, timeout_ms, self._kick_main)
        return self._end()

    def _prepare(self) -> None:
        faulthandler.enable(file=self._outside)
        signal.signal(ABORT_SIGNAL, lambda _number, _frame: self._main.handle_signal())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle_interrupt)
        # A signal that reaches a fork before it has let go of the handlers would be lost on it.
        mask = threading.local()
        held = (signal.SIGTERM, signal.SIGINT)

        def hold() -> None:
            mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, held)

        def release() -> None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask.before)

        def disown() -> None:
            self._disown()
            release()

        os.register_at_fork(before=hold, after_in_parent=release, after_in_child=disown)
        _current.publish(self._options.name, self._main, alone=len(self._slots) == 1)
        for slot in self._slots[1:]:
            threading.Thread(
                target=self._run_slot,
                args=(slot,),
                name=f"taskyard-slot-{slot.index + 1}",
                daemon=True,
            ).start()
        threading.Thread(target=self._watch, name="taskyard-watcher", daemon=True).start()

    def _poll_set(self, *others: int, output: bool) -> Callable[[], select.poll]:
        """Gives the object to sleep on, made anew when the socket is another one."""
        made_for: list[object] = [None]
        made: list[select.poll] = []

        def present() -> select.poll:
            if made_for[0] is not self._link.socket:
                poll = select.poll()
                streams = self._capture.descriptors if output and self._capture else ()
                for descriptor in (self._link.descriptor, *others, *streams):
                    if descriptor >= 0:
                        poll.register(descriptor, select.POLLIN)
                made_for[0], made[:] = self._link.socket, [poll]
            return made[0]

        return present

    def _wait(self, poll: select.poll, timeout_ms: float | None, kick: int) -> None:
        """Sleeps until something may be to do."""
        for descriptor, _ in poll.poll(timeout_ms):
            if descriptor == kick:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(kick)
            elif descriptor == self._lifeline:
                self._handle_lifeline()
            elif (
                kick == self._kick_main
                and self._capture is not None
                and descriptor in self._capture.descriptors
            ):
                # Nobody's: of a thread or a process that an attempt has left behind.
                self._capture.read(self._capture.write_outside)

    def _look_around(self) -> float | None:
        """What is to be done when there is nothing to do, and in how many milliseconds next."""
        timeouts: list[float] = []
        session, now = self._session, time.monotonic()
        if self._draining:
            if self._is_done(now):
                return 0
            timeouts.append(_OUTPUT_MS)
        if self._retry_at is not None:
            if now >= self._retry_at:
                self._retry_at = None
                session.register()
            else:
                timeouts.append((self._retry_at - now) * 1000 + 1)
        if session.is_behind:
            session.pump()
            timeouts.append(_SOON_MS)
        if self._link.is_away:
            timeouts.append(_LOOK_MS)
            if self._link.is_forsaken():
                self._link.go_home()
                session.unsettle()
        if not self._options.reconnect:
            timeouts.append(_LOOK_MS)
            self._look_for_end(now)
        if timeouts:
            # Looking has touched the socket.
            self._drain_socket()
            if self._main_task is not None:
                return 0
        return min(timeouts, default=None)

    def _look_for_end(self, now: float) -> None:
        if self._link.is_connected():
            self._lost_since = None
            return
        self._lost_since = self._lost_since or now
        if now - self._lost_since > _GONE_S:
            self._say("the controller is gone")
            self._code = 1

    def _is_done(self, now: float) -> bool:
        if any(slot.assignment for slot in self._slots) or self._main_task or self._overflow:
            return False
        session = self._session
        if session.is_up and not self._has_all:
            if self._leave_by is None:
                self._leave_by = now + _LEAVE_S
            if now < self._leave_by:
                return False
        self._words[_board.STATE] = _board.LEFT
        session.leave()
        self._code = 0
        return True

    def _end(self) -> int:
        for slot in self._slots[1:]:
            slot.queue.put(None)
        with self._lock:
            self._link.close()
        self._context.term()
        assert self._code is not None
        return self._code

    # --- the socket; the lock is held

    def _send(self, first: bytes, frames: Frames) -> bool:
        return self._link.send(first, frames)

    def _drain_socket(self) -> None:
        """Receives until there is nothing; not further than to a task for the main thread, if it is
        that which asks: what comes after it is seen by the watcher, or afterwards."""
        session = self._session
        hurry = threading.get_ident() == self._main.thread
        while True:
            message = self._link.receive()
            if message is None:
                task = session.poll_waiting() if session.has_waiting else None
                if task is None:
                    return
                self._assign(task)
            else:
                event = session.handle(*message)
                if event is None:
                    continue
                if isinstance(event, Task):
                    self._assign(event)
                elif isinstance(event, Abort):
                    self._abort(event.assignment)
                else:
                    self._handle_event(event)
            if hurry and self._main_task is not None and not self._watch_at_once:
                return

    def _handle_event(self, event: Event) -> None:
        session = self._session
        if event is Event.REGISTERED:
            self._payload_max = session.payload_max
            self._retry_s = _RETRY_MIN_S
            words = self._words
            words[_board.WORKER], words[_board.EPOCH] = session.worker, session.epoch
            words[_board.STATE] = _board.REGISTERED
        elif event is Event.DRAIN:
            # Nothing runs any more, and nothing more will come.
            self._begin_drain(ask=False)
            self._has_all = True
            self._kick(self._kick_main)
        elif event is Event.EVICTED:
            session.register()
        elif event is Event.REDIRECT:
            self._link.follow(session.redirect)
        elif session.rejection in _FINAL_REJECTIONS:
            reason = _FINAL_REJECTIONS[session.rejection]
            self._say(f"the controller refuses this worker for good: {reason}")
            self._words[_board.REASON] = _board.REASON_REFUSED
            self._code = 1
        else:
            self._retry(_REJECTIONS.get(session.rejection, f"code {session.rejection}"))

    def _retry(self, reason: str) -> None:
        if self._retry_s >= _RETRY_MAX_S / 2:
            self._say(f"the controller does not take this worker yet: {reason}; trying on")
        self._retry_at = time.monotonic() + self._retry_s
        self._retry_s = min(2 * self._retry_s, _RETRY_MAX_S)

    def _begin_drain(self, *, ask: bool = True) -> None:
        if not self._draining:
            self._draining = True
            if ask:
                self._session.drain()
            self._kick(self._kick_main)

    def _assign(self, task: Task) -> None:
        """Gives a task to a slot that is free, the main thread's if it is."""
        self._leave_by, self._has_all = None, False
        if self._main.assignment is None:
            self._main.assignment = task.assignment
            self._main_task = task
            if threading.get_ident() != self._main.thread:
                self._kick(self._kick_main)
            return
        for slot in self._slots:
            if slot.assignment is None:
                slot.assignment = task.assignment
                slot.queue.put(task)
                return
        # More than there are slots no controller sends that keeps its word.
        self._overflow.append(task)

    def _abort(self, assignment: Assignment) -> None:
        for slot in self._slots:
            if slot.assignment == assignment:
                slot.abort()
                self._words[_board.ABORT_SINCE] = (
                    self._words[_board.ABORT_SINCE] or slot.abort_since_ns
                )

    def _finish(self, slot: Slot, verdict: int, frames: Frames) -> None:
        """Reports what a slot has done, and makes it free."""
        assignment = slot.assignment
        assert assignment is not None
        self._tell_printed(slot, assignment, final=True)
        self._session.report(assignment, verdict, frames)
        slot.end()
        words = self._words
        if len(self._slots) == 1:
            words[_board.BUSY_SINCE] = 0
            if words[_board.ABORT_SINCE]:
                words[_board.ABORT_SINCE] = 0
        else:
            busy = [other.started_ns for other in self._slots if other.assignment is not None]
            words[_board.BUSY_SINCE] = min(busy, default=0)
            aborts = [since for other in self._slots if (since := other.abort_since_ns)]
            words[_board.ABORT_SINCE] = min(aborts, default=0)
        if self._overflow:
            self._assign(self._overflow.pop(0))

    def _tell_printed(self, slot: Slot, assignment: Assignment, *, final: bool = False) -> int:
        """Passes on what was printed since the last time; gives how many bytes were read."""
        printed, read_bytes = slot.printed, 0
        if self._capture is not None:
            if final:
                self._capture.flush()
            read_bytes = self._capture.read(printed.feed)
            dropped = self._words[_board.DROPPED]
            if dropped != self._dropped_before:
                printed.dropped += dropped - self._dropped_before
                self._dropped_before = dropped
        if not printed.is_empty:
            printed.tell(
                lambda stream, data, dropped: self._session.output(
                    assignment, stream, data, dropped
                )
            )
        return read_bytes

    # --- slots

    def _run(self, slot: Slot, task: Task) -> None:
        """Runs a task in this thread, and reports it."""
        now = time.monotonic_ns()
        words = self._words
        words[_board.BUSY_SINCE] = words[_board.BUSY_SINCE] or now
        words[_board.ATTEMPT] = task.assignment.attempt
        slot.started_ns = now
        slot.printed.begin()
        if self._watch_at_once:
            self._kick(self._kick_watcher)
        elif not self._timer_is_armed:
            self._timer_is_armed = True
            self._timer.arm(_WATCH_AFTER_NS)
        try:
            verdict, frames = slot.call(
                lambda: self._executor.execute(task.frames, self._payload_max, slot.printed.feed)
            )
        except TaskAborted:
            verdict, frames = ABORTED, ()
        if os.getpid() != self._pid:
            # A process that the task has forked and that came back: it is not the worker.
            os._exit(0)
        with self._lock:
            self._finish(slot, verdict, frames)

    def _run_slot(self, slot: Slot) -> None:
        slot.thread = threading.get_ident()
        _current.enter(slot)
        while (task := slot.queue.get()) is not None:
            self._run(slot, task)
            del task
            with self._lock:
                self._drain_socket()
            if self._draining:
                self._kick(self._kick_main)

    # --- the watcher

    def _watch(self) -> None:
        idle = select.poll()
        for descriptor in (self._timer.descriptor, self._kick_watcher):
            idle.register(descriptor, select.POLLIN)
        if self._lifeline >= 0:
            idle.register(self._lifeline, select.POLLIN)
        while self._code is None:
            for descriptor, _ in idle.poll():
                if descriptor == self._lifeline:
                    self._handle_lifeline()
            self._timer.clear()
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._kick_watcher)
            self._timer_is_armed = False
            try:
                self._watch_long()
            except zmq.ZMQError:
                if self._code is None:
                    raise

    def _watch_long(self) -> None:
        """As long as functions run that have run for long."""
        while self._code is None:
            busy = [slot for slot in self._slots if slot.assignment is not None]
            if not busy:
                return
            age_ns = time.monotonic_ns() - min(slot.started_ns for slot in busy)
            if not self._watch_at_once and age_ns < _WATCH_AFTER_NS:
                if not self._timer_is_armed:
                    self._timer_is_armed = True
                    self._timer.arm(_WATCH_AFTER_NS - age_ns)
                return
            with self._lock:
                told_bytes = self._watch_once(busy)
                # What was printed is collected for a moment: many small messages would cost more.
                pause = 0 < told_bytes < CHUNK_BYTES_MAX
                poll = self._watcher_quiet() if pause else self._watcher_poll()
            timeout_ms: float = _OUTPUT_MS if pause or self._capture is None else _TICK_MS
            if any(slot.is_aborted for slot in busy) or self._session.is_behind:
                timeout_ms = _SOON_MS
            self._wait(poll, timeout_ms, self._kick_watcher)

    def _watch_once(self, busy: list[Slot]) -> int:
        """Listens, and passes on what was printed; gives how much."""
        self._words[_board.TICKS] += 1
        if self._drain_asked:
            self._begin_drain()
        self._drain_socket()
        told_bytes = 0
        for slot in busy:
            if slot.assignment is not None:
                slot.interrupt()
                told_bytes += self._tell_printed(slot, slot.assignment)
        if told_bytes or self._session.is_behind:
            self._session.pump()
            self._drain_socket()
        return told_bytes

    # --- what comes from elsewhere

    def _kick(self, descriptor: int) -> None:
        os.eventfd_write(descriptor, 1)

    def _handle_interrupt(self, number: int, _frame: FrameType | None) -> None:
        """On the main thread, in the midst of whatever it does: so it takes no lock."""
        self._interrupts += 1
        if self._interrupts == 1:
            self._say(f"{signal.Signals(number).name}: finishing what runs; once more ends at once")
            self._ask_to_drain()
            return
        self._end_at_once(128 + number)

    def _ask_to_drain(self) -> None:
        self._drain_asked = True
        self._kick(self._kick_main)
        self._kick(self._kick_watcher)

    def _handle_lifeline(self) -> None:
        """On the watcher's thread."""
        if os.read(self._lifeline, 1):
            self._ask_to_drain()
        else:
            # The nanny is gone: nothing may stay behind.
            self._end_at_once(1)

    def _end_at_once(self, code: int) -> None:
        for pid in _process.descendants_of(os.getpid()):
            _process.kill_quietly(pid)
        os._exit(code)

    def _disown(self) -> None:
        """In a process that a task has forked: nothing of the worker is its own."""
        for number in (signal.SIGTERM, signal.SIGINT, ABORT_SIGNAL):
            with contextlib.suppress(ValueError):
                signal.signal(
                    number,
                    signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL,
                )
        self._link.disown()

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):
            os.write(self._outside, f"taskyard: worker {self._options.name}: {line}\n".encode())
