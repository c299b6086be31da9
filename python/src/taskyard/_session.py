"""A client's side of its session, without its socket and without threads.

It knows all tasks that have no outcome, numbers what is sent, and acknowledges what comes. When the
controller asks who it is, a new session begins: numbers start again, and all that has no outcome is
submitted again. ``docs/PROTOCOL.md``, sections 4 and 6.

Not safe for threads: whoever calls holds the link's lock.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol

from taskyard import _wire as wire
from taskyard.errors import LostAttempt
from taskyard.futures import Future

#: A payload of one frame up to this size travels in the first frame of its message.
INLINE_BYTES_MAX = 16 * 1024
#: Acknowledge after so many outcomes, or so many bytes of results, at the latest.
ACK_OUTCOMES = 64
ACK_BYTES = 1 << 20
#: How long a task that the controller has no room for is offered again while nothing moves.
REFUSED_PATIENCE_S = 30.0
#: After that it is offered again, even if nothing moves.
REFUSED_PAUSE_S = 0.05
#: Long before the numbers of a session run out, a new one begins.
NUMBER_MAX = 1 << 31

_PACK = wire.HEADER.pack
_HEADER_BYTES = wire.HEADER_BYTES
# Tasks full, quota full, bytes full: they may come again later.
_ROOM = (1, 2, 9)
_TOO_LARGE = 8

Frames = Sequence[Any]


class Route(NamedTuple):
    """Where a task goes and how: what is the same for all tasks of a view."""

    code: int = wire.TOPIC_ANY
    worker: int = 0
    attempts: int = 0
    flags: int = 0
    sections: bytes = b""
    #: The name of the worker, if it goes to one by name.
    name: str = ""


class Outcome(NamedTuple):
    """How a task ended, before anybody has looked into it."""

    code: int
    detail: int
    attempt: int
    worker: int
    frames: list[Any]
    #: Why there will never be an outcome, if that is what it is.
    error: BaseException | None = None


#: An outcome that no controller has sent: the client was closed, or the controller is gone.
ABANDONED = 255


class Standing(Enum):
    """Where the session stands."""

    STRANGER = auto()
    GREETING = auto()
    UP = auto()


class Question:
    """A question to the controller that waits for its answer."""

    __slots__ = ("answer", "first", "frames", "waiter")

    def __init__(self, waiter: Any) -> None:
        self.waiter = waiter
        self.answer: wire.Header | None = None
        self.first = b""
        self.frames: Frames = ()


class Port(Protocol):
    """What a session needs from whoever drives it."""

    def send(self, first: bytes) -> bool:
        """Sends a message of one frame; false if there is no connection."""

    def send_frames(self, frames: list[Any]) -> bool:
        """Sends a message of several frames; false if there is no connection."""

    def on_done(self, task: Future[Any]) -> None:
        """A task has its outcome, and somebody wants to be called."""

    def on_output(
        self, task: Future[Any], stream: int, data: bytes, dropped: int, lost: int
    ) -> None:
        """A task has written something."""

    def on_rejected(self, code: int) -> None:
        """The controller does not let this client in."""


class Session:
    """The state of one client's conversation with its controller."""

    def __init__(self, port: Port, key: bytes | None = None) -> None:
        self._port = port
        self._key = key or os.urandom(16)
        self.standing = Standing.STRANGER
        self.since = time.monotonic()
        self.number = 0
        #: (boot, record) of the last *Welcome*.
        self.record: tuple[bytes, int] | None = None
        self.quota = 0
        #: 0: not told.
        self.payload_max = 0
        #: All tasks without an outcome, in the order in which they were submitted.
        self.tasks: dict[int, Future[Any]] = {}
        #: Those that wait for room in the quota.
        self.unsent: deque[Future[Any]] = deque()
        self.in_flight = 0
        self._seq = 0
        self._ack = 0
        self.unacked = 0
        self._unacked_bytes = 0
        self._last_id = 0
        self._paused_until = 0.0
        self._moved_at = 0.0
        self.names: dict[tuple[int, int], str] = {}
        self._asked: set[tuple[int, int]] = set()
        self.questions: dict[int, Question] = {}
        self._handlers: dict[int, Callable[[wire.Header, bytes, Frames], None]] = {
            wire.WHO_ARE_YOU: lambda _header, _first, _frames: self.introduce(),
            wire.WELCOME: self._handle_welcome,
            wire.NOTICE: self._handle_notice,
            wire.ALIVE: self._handle_answer,
            wire.CONTROLLED: self._handle_answer,
            wire.ACK: lambda _header, _first, _frames: None,
            wire.PING: self._handle_ping,
            wire.REJECTED: self._handle_rejected,
        }

    # --- what the client does

    def submit(self, task: Future[Any]) -> None:
        """Takes a task, and sends it as soon as there is a session with room for it."""
        self._last_id = task._id = self._last_id + 1
        self.tasks[task._id] = task
        if self.standing is Standing.UP:
            if self.unsent or self.in_flight + self.unacked >= self.quota:
                self.unsent.append(task)
                self.pump()
            else:
                self._send_submit(task)

    def cancel(self, task: Future[Any]) -> None:
        """Asks for a task to be taken away. One that was never sent is taken away here."""
        if task._state is not PENDING or task._cancels:
            return
        task._cancels = True
        if task._record is None:
            self.finish(task, Outcome(wire.CANCELLED, 0, 0, 0, []))
            if task in self.unsent:
                self.unsent.remove(task)
        elif self.standing is Standing.UP and task._is_in_flight:
            self._send_cancel(task)

    def withdraw(self, task: Future[Any]) -> bool:
        """Takes a task away if it was never sent; true if the controller has to be asked."""
        if task._record is None:
            self.cancel(task)
        return task._state is PENDING

    def ask(self, kind: int, question: Question, body: bytes = b"", **fields: int) -> int:
        """Sends a question; 0 if it cannot be sent now."""
        if self.standing is not Standing.UP:
            return 0
        self._last_id += 1
        number = self._last_id
        if not self._send(wire.pack(kind, id=number, **fields) + body):
            return 0
        self.questions[number] = question
        return number

    def goodbye(self) -> None:
        """Leaves for good."""
        if self.standing is not Standing.STRANGER:
            self._port.send(wire.pack(wire.GOODBYE))
        self.break_off()

    def acknowledge(self) -> None:
        """Says what has been received, if that has not been said."""
        if self.unacked and self.standing is Standing.UP:
            self._send(wire.pack(wire.ACK, ack=self._ack))
            self._acknowledged()

    def pump(self) -> None:
        """Sends what waits for room."""
        while self.unsent and self.standing is Standing.UP:
            if self.in_flight + self.unacked >= self.quota:
                if not self.unacked:
                    return
                self.acknowledge()
                continue
            if self._paused_until:
                if self.in_flight and time.monotonic() < self._paused_until:
                    return
                self._paused_until = 0.0
            task = self.unsent.popleft()
            if task._state is PENDING:
                self._send_submit(task)

    def introduce(self) -> None:
        """Says hello: the controller has asked, or our numbers are of no use any more."""
        self._set_standing(Standing.GREETING)
        self.number += 1
        for question in self.questions.values():
            question.waiter.add_result(question)
        self.questions.clear()
        self._asked.clear()
        if not self._port.send(wire.pack(wire.CLIENT_HELLO, seq=self.number) + self._key):
            self.break_off()

    def break_off(self) -> None:
        """The connection is gone. What comes next is the controller's question who we are."""
        self._set_standing(Standing.STRANGER)

    def _set_standing(self, standing: Standing) -> None:
        if (standing is Standing.UP) != (self.standing is Standing.UP):
            self.since = time.monotonic()
        self.standing = standing

    # --- sending

    def _send(self, first: bytes) -> bool:
        if self._port.send(first):
            return True
        self.break_off()
        return False

    def _send_submit(self, task: Future[Any]) -> None:
        route, frames = task._route, task._request
        if frames is None:
            return
        record = self.record
        if task._record is not record:
            if task._record is not None:
                task._resent = wire.RESENT
            task._record = record
        if not task._is_in_flight:
            task._is_in_flight = True
            self.in_flight += 1
        first = frames[0]
        inline = len(frames) == 1 and len(first) <= INLINE_BYTES_MAX
        if not inline and self.payload_max and _bytes_of(frames) > self.payload_max:
            self.finish(task, Outcome(wire.REFUSED, _TOO_LARGE, 0, 0, []))
            return
        seq = self._seq + 1
        head = _PACK(
            1,
            wire.SUBMIT,
            route.flags | task._resent,
            0 if inline else len(frames),
            seq,
            self._ack,
            route.worker,
            task._id,
            0,
            route.attempts,
            route.code,
            0,
        )
        if inline:
            is_sent = self._port.send(head + route.sections + first)
        else:
            is_sent = self._port.send_frames([head + route.sections, *frames])
        if not is_sent:
            self.break_off()
            return
        self._seq = seq
        if self.unacked:
            self._acknowledged()
        if task._cancels:
            self._send_cancel(task)
        if seq >= NUMBER_MAX:
            self.introduce()

    def _send_cancel(self, task: Future[Any]) -> None:
        if self.standing is not Standing.UP:
            return
        self._seq += 1
        self._send(wire.pack(wire.CANCEL, seq=self._seq, ack=self._ack, id=task._id))
        self._acknowledged()

    def _acknowledged(self) -> None:
        self.unacked = 0
        self._unacked_bytes = 0

    # --- receiving

    def handle(self, first: bytes, frames: Frames) -> None:
        """Takes one message. What it does not understand it ignores."""
        if len(first) < _HEADER_BYTES or first[0] != wire.VERSION:
            return
        header = wire.Header._make(wire.HEADER.unpack_from(first))
        if header.kind == wire.OUTCOME:
            self._handle_outcome(header, first, frames)
            return
        handler = self._handlers.get(header.kind)
        if handler is not None:
            handler(header, first, frames)

    def _handle_welcome(self, header: wire.Header, first: bytes, _frames: Frames) -> None:
        if header.ack != self.number or self.standing is not Standing.GREETING:
            return
        record = (first[_HEADER_BYTES : _HEADER_BYTES + 8], header.id)
        if self.record != record:
            self.record = record
            self.names.clear()
        self.quota = max(header.epoch, 1)
        self.payload_max = header.seq
        self._seq = self._ack = 0
        self._acknowledged()
        self._paused_until = 0.0
        self.in_flight = 0
        for task in self.tasks.values():
            task._is_in_flight = False
        self._set_standing(Standing.UP)
        # All of them in their old order; the controller knows those that it has.
        self.unsent = deque(self.tasks.values())
        self.pump()

    def _handle_outcome(self, header: wire.Header, first: bytes, frames: Frames) -> None:
        if header.flags & wire.NO_PAYLOAD:
            frames = []
        elif not frames:
            frames = [first[_HEADER_BYTES:]]
        is_present = header.extra >> 8 == self.number & 0xFF and self.standing is Standing.UP
        if is_present and header.seq and not self._count(header, frames):
            return
        task = self.tasks.get(header.id)
        if task is None or (header.code == wire.REFUSED and not is_present):
            return
        detail = header.extra & 0xFF
        if header.code == wire.REFUSED and detail in _ROOM and self._offer_again(task):
            return
        outcome = Outcome(header.code, detail, header.attempt, header.worker, list(frames))
        if header.flags & wire.PART and task.is_multicast:
            self._add_part(task, header, outcome)
            return
        if header.flags & wire.HAS_WORKER:
            self._ran_on(task, header)
        self.finish(task, outcome)
        if self.unsent:
            self._paused_until = 0.0
            self.pump()
        if self.unacked >= ACK_OUTCOMES or self._unacked_bytes >= ACK_BYTES:
            self.acknowledge()

    def _count(self, header: wire.Header, frames: Frames) -> bool:
        """Counts an outcome of the present session; false if one is missing before it."""
        if header.seq == self._ack + 1:
            self._ack = header.seq
            self.unacked += 1
            self._unacked_bytes += _bytes_of(frames)
            if self._ack >= NUMBER_MAX:
                self.introduce()
        elif header.seq > self._ack:
            # It would be lost if this one was acknowledged. In a new session all come again.
            self.introduce()
            return False
        return True

    def _offer_again(self, task: Future[Any]) -> bool:
        """The controller has no room for a task: it waits until something has moved. False if
        nothing has moved for long."""
        now = time.monotonic()
        if not task._retry_since:
            task._retry_since = now
        if now - max(task._retry_since, self._moved_at) > REFUSED_PATIENCE_S:
            return False
        if task._cancels:
            # One that another record had may have run there.
            self.finish(task, Outcome(wire.CANCELLED, 1 if task._resent else 0, 0, 0, []))
            return True
        if not task._resent:
            # Nobody has it: it is as if it had never been sent.
            task._record = None
        if task._is_in_flight:
            task._is_in_flight = False
            self.in_flight -= 1
        self._paused_until = now + REFUSED_PAUSE_S
        place = 0
        while place < len(self.unsent) and self.unsent[place]._id < task._id:
            place += 1
        self.unsent.insert(place, task)
        return True

    def _add_part(self, task: Any, header: wire.Header, outcome: Outcome) -> None:
        place = (header.worker, header.epoch)
        if place in task._parts:
            return
        part: Future[Any] = Future(task._link, task._route, [])
        self._ran_on(part, header)
        part._id = task._id
        part._attempts = outcome.attempt
        part._outcome = outcome
        part._request = None
        part._state = _state_of(outcome)
        task._parts[place] = part
        if self.unacked >= ACK_OUTCOMES or self._unacked_bytes >= ACK_BYTES:
            self.acknowledge()

    def _ran_on(self, task: Future[Any], header: wire.Header) -> None:
        place = (header.worker, header.epoch)
        task._worker = place
        if task._route.name:
            task._worker_name = task._route.name
        elif place not in self.names and place not in self._asked:
            self._ask_name(place)

    def _ask_name(self, place: tuple[int, int]) -> None:
        self._asked.add(place)
        if len(self._asked) <= 4096:
            self._send(wire.pack(wire.IS_ALIVE, code=wire.TOPIC_WORKER, worker=place[0]))

    def _handle_notice(self, header: wire.Header, first: bytes, frames: Frames) -> None:
        task = self.tasks.get(header.id)
        if task is None:
            return
        task._attempts = max(task._attempts, header.attempt)
        if header.code == 0:
            name, _ = wire.read_name(header, first)
            name = name or self.names.get((header.worker, header.epoch), "")
            task._notices = (*task._notices, LostAttempt(header.attempt, header.worker, name))
        elif header.code in (1, 2):
            data = b"".join(map(bytes, frames)) if frames else first[_HEADER_BYTES:]
            self._port.on_output(task, header.code, data, header.ack, header.extra)

    def _handle_answer(self, header: wire.Header, first: bytes, frames: Frames) -> None:
        if header.kind == wire.ALIVE and header.flags & wire.HAS_WORKER:
            name, _ = wire.read_name(header, first)
            if name:
                self.names[(header.worker, header.epoch)] = name
        question = self.questions.pop(header.id, None)
        if question is not None:
            question.answer, question.first, question.frames = header, first, frames
            question.waiter.add_result(question)

    def _handle_ping(self, header: wire.Header, _first: bytes, _frames: Frames) -> None:
        self._port.send(wire.pack(wire.PONG, id=header.id))

    def _handle_rejected(self, header: wire.Header, _first: bytes, _frames: Frames) -> None:
        if header.code == 17 and header.id == self.number:
            # Somebody with our key was here with a higher number, which cannot be; go beyond it.
            self.number += 1000
            self.introduce()
        elif header.code in (2, 4) or header.id == self.number:
            self._port.on_rejected(header.code)

    # --- ends

    def finish(self, task: Future[Any], outcome: Outcome) -> None:
        """Gives a task its outcome. Done twice, it does no harm: somebody may interrupt it."""
        if task._is_in_flight:
            task._is_in_flight = False
            self.in_flight -= 1
        if outcome.attempt:
            task._attempts = outcome.attempt
        if outcome.code == wire.COMPLETED:
            self._moved_at = time.monotonic() if self.unsent else self._moved_at
        task._outcome = outcome
        task._request = None
        state = task._state = _state_of(outcome)
        for waiter in task._waiters:
            if state is CANCELLED_AND_NOTIFIED:
                waiter.add_cancelled(task)
            elif outcome.code in (wire.COMPLETED, wire.SUMMARY):
                waiter.add_result(task)
            else:
                waiter.add_exception(task)
        if task._done_callbacks or task._loops or task._on_output:
            self._port.on_done(task)
        self.tasks.pop(task._id, None)

    def abandon(self, error: BaseException) -> None:
        """Ends all tasks: there will be no outcomes."""
        self.unsent.clear()
        for task in list(self.tasks.values()):
            self.finish(task, Outcome(ABANDONED, 0, task._attempts, 0, [], error))
        for question in self.questions.values():
            question.waiter.add_result(question)
        self.questions.clear()


def _state_of(outcome: Outcome) -> str:
    if outcome.code == wire.CANCELLED and not outcome.detail & 1:
        return CANCELLED_AND_NOTIFIED
    return FINISHED


def _bytes_of(frames: Frames) -> int:
    return sum(frame.nbytes if isinstance(frame, memoryview) else len(frame) for frame in frames)
