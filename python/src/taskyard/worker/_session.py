"""A worker's side of its registration, without its socket.

It keeps every result until the controller has acknowledged it, and knows what still runs. When the
controller asks who it is, on a new connection or because it forgot us, a new registration begins:
the kept results are handed in, what still runs is named, and *Register* carries the next number.
A controller that was started anew is told in terms of where the tasks came from, with the tickets
that its predecessor gave out. ``docs/PROTOCOL.md``, sections 5 and 6.

Not safe for threads: whoever calls holds the lock of the socket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, NamedTuple

from taskyard import _wire as wire

COMPLETED = 0
FAILED = 1
ABORTED = 2
_STILL_RUNS = 3

# Acknowledged results that are kept all the same, in case the controller is started anew before it
# has passed them on.
_LATEST_MAX = 16
_LATEST_BYTES_MAX = 1 << 20
# Long before the numbers of a registration could run out, a new one begins.
_NUMBER_MAX = 1 << 31
# A payload of one frame up to this size travels in the message's first frame.
_INLINE_BYTES_MAX = 16 * 1024

_HEADER = wire.HEADER
_HEADER_BYTES = wire.HEADER_BYTES
_ORIGIN_BYTES = 24

Frames = Sequence[Any]
Send = Callable[[bytes, Frames], bool]


class Assignment(NamedTuple):
    """One attempt that this worker was given."""

    id: int
    attempt: int
    worker: int
    epoch: int
    boot: bytes
    # What the worker shows to a controller that was started anew; empty: nothing.
    origin: bytes


class Event(Enum):
    """What a message from the controller means to the worker's program."""

    REGISTERED = auto()
    # Finish what runs, then leave.
    DRAIN = auto()
    # The registration is over: register again, or give up.
    EVICTED = auto()
    # ``Session.redirect`` says where to.
    REDIRECT = auto()
    # ``Session.rejection`` says why.
    REJECTED = auto()


class Task(NamedTuple):
    """Run this, then report it."""

    assignment: Assignment
    frames: Frames


class Abort(NamedTuple):
    """Stop this if it still runs, then report it."""

    assignment: Assignment


class _Delivery(Enum):
    UNSENT = auto()
    HANDED_IN = auto()
    NUMBERED = auto()


class _Kept:
    """A result that the controller has not acknowledged."""

    __slots__ = ("assignment", "delivery", "frames", "number", "verdict")

    def __init__(self, assignment: Assignment, verdict: int, frames: Frames) -> None:
        self.assignment = assignment
        self.verdict = verdict
        self.frames = frames
        self.delivery = _Delivery.UNSENT
        self.number = 0

    def byte_count(self) -> int:
        return bytes_of(self.frames)


def bytes_of(frames: Frames) -> int:
    """How many bytes a payload has."""
    return sum(frame.nbytes if isinstance(frame, memoryview) else len(frame) for frame in frames)


class _Standing(Enum):
    STRANGER = auto()
    # A registration is to be sent.
    DUE = auto()
    AWAITING = auto()
    UP = auto()
    LEFT = auto()


class Session:
    """The state of one worker's conversation with its controller.

    ``send(first, frames)`` gives false if the connection takes nothing now; what could not be sent
    goes out with a later :meth:`pump`.
    """

    def __init__(
        self, name: str, instance: int, slots: int, prefetch: int, labels: Sequence[str], send: Send
    ) -> None:
        encoded = name.encode()
        self._name = bytes([len(encoded)]) + encoded
        self._labels = b"".join(
            bytes([len(text)]) + text for text in (label.encode() for label in labels)
        )
        self._instance = instance
        self._slots = slots
        self._prefetch = prefetch
        self._send = send
        self._standing = _Standing.STRANGER
        self._number = 0
        self._settled = False
        self.worker = 0
        self.epoch = 0
        self.boot = b""
        # 0: not told.
        self.payload_max = 0
        self.redirect = ""
        self.rejection = 0
        self.running: list[Assignment] = []
        self._ahead: deque[Task] = deque()
        self._given_back: list[Assignment] = []
        self._kept: deque[_Kept] = deque()
        self._unsent = 0
        self._latest: deque[_Kept] = deque()
        self._latest_bytes = 0
        self._unsaid: list[Assignment] = []
        self._sent = 0
        self._wants_to_leave = False
        self._handlers: dict[int, Callable[[wire.Header, bytes], Event | Abort | None]] = {
            wire.REGISTERED: self._handle_registered,
            wire.REDIRECT: self._handle_redirect,
            wire.WHO_ARE_YOU: self._handle_who_are_you,
            wire.ABORT: self._handle_abort,
            wire.REVOKE: self._handle_revoke,
            wire.DRAIN: lambda _header, _first: Event.DRAIN,
            wire.EVICT: self._handle_evict,
            wire.REJECTED: self._handle_rejected,
            wire.PING: self._handle_ping,
        }

    # --- what it knows

    @property
    def is_up(self) -> bool:
        """Whether it is registered."""
        return self._standing is _Standing.UP

    @property
    def unacknowledged(self) -> int:
        """How many results the controller has not acknowledged."""
        return len(self._kept)

    @property
    def has_waiting(self) -> bool:
        """Whether tasks that were sent ahead wait for a slot."""
        return bool(self._ahead)

    @property
    def is_behind(self) -> bool:
        """Whether something could not be sent that shall be: pump again soon."""
        if self._standing is _Standing.DUE:
            return True
        return self.is_up and bool(self._unsent or self._given_back or self._unsaid)

    def is_present(self, assignment: Assignment) -> bool:
        """Whether it was given under the present registration."""
        return (
            self._standing is _Standing.UP
            and assignment.epoch == self.epoch
            and assignment.worker == self.worker
            and assignment.boot == self.boot
        )

    # --- what the worker does

    def report(self, assignment: Assignment, verdict: int, frames: Frames) -> None:
        """Tells how an attempt ended: now, or as soon as there is a registration."""
        self.running.remove(assignment)
        if self._unsaid:
            self._unsaid = [unsaid for unsaid in self._unsaid if unsaid != assignment]
        self._kept.append(_Kept(assignment, verdict, frames))
        self._unsent += 1
        self.pump()

    def poll_waiting(self) -> Task | None:
        """The next task that was sent ahead, if there is a slot for it: run it. The controller is
        told that it starts; as long as the connection takes nothing, it does not."""
        if not self._ahead or not self.is_up or len(self.running) >= self._slots:
            return None
        assignment = self._ahead[0].assignment
        if not self._send(_attempt_message(wire.STARTED, assignment), ()):
            return None
        self.running.append(assignment)
        return self._ahead.popleft()

    def drain(self) -> None:
        """Asks for nothing more, and gives back what was sent ahead and has not started. When
        nothing is left, :attr:`Event.DRAIN` comes."""
        self._given_back.extend(task.assignment for task in self._ahead)
        self._ahead.clear()
        self._wants_to_leave = True
        self.pump()
        if self.is_up:
            self._send(wire.pack(wire.DRAIN), ())

    def register(self) -> None:
        """Registers anew, unasked."""
        if self._standing is not _Standing.LEFT:
            self._standing = _Standing.DUE
            self.pump()

    def unsettle(self) -> None:
        """Back to where it may be sent on from again; connect to the first endpoint with it."""
        self._settled = False
        if self._standing is not _Standing.LEFT:
            self._standing = _Standing.STRANGER

    def leave(self) -> None:
        """Leaves for good. Results that are not acknowledged are lost with it."""
        if self._standing in (_Standing.UP, _Standing.AWAITING):
            self._send(wire.pack(wire.LEAVE), ())
        self._standing = _Standing.LEFT

    def output(self, assignment: Assignment, stream: int, data: bytes, dropped: int) -> bool:
        """Passes on what an attempt has printed; false: it could not be, and is lost."""
        if not self.is_present(assignment):
            return False
        head = wire.pack(
            wire.OUTPUT,
            flags=wire.HAS_WORKER,
            ack=min(dropped, 0xFFFFFFFF),
            worker=assignment.worker,
            id=assignment.id,
            epoch=assignment.epoch,
            attempt=assignment.attempt,
            code=stream,
        )
        return self._send(head + data, ())

    def pump(self) -> None:
        """Sends what has to be sent, until the connection takes no more."""
        if self._standing is _Standing.UP:
            if self._sent >= _NUMBER_MAX:
                self._standing = _Standing.DUE
                self._introduce()
                return
            if self._unsent and not self._send_results():
                return
            while self._given_back:
                if not self._send(_attempt_message(wire.REVOKED, self._given_back[-1]), ()):
                    return
                self._given_back.pop()
            while self._unsaid:
                if not self._send(_with_past(wire.STARTED, self._unsaid[-1]), ()):
                    return
                self._unsaid.pop()
        elif self._standing is _Standing.DUE:
            self._introduce()

    # --- what the controller says

    def handle(self, first: bytes, rest: Frames) -> Task | Abort | Event | None:
        """Takes one message. What it does not understand it ignores."""
        if len(first) < _HEADER_BYTES:
            return None
        header = wire.Header.of(first)
        if header.version != wire.VERSION:
            return None
        if header.kind == wire.TASK:
            return self._handle_task(header, first, rest)
        if header.kind == wire.ACK:
            self._acknowledged(header)
            return None
        handler = self._handlers.get(header.kind)
        return handler(header, first) if handler else None

    def _handle_task(self, header: wire.Header, first: bytes, rest: Frames) -> Task | None:
        """A task of another registration than the present one is not run: it was not named as
        running when we registered, so the controller has settled it by now."""
        self._acknowledged(header)
        if not self.is_up or (header.worker, header.epoch) != (self.worker, self.epoch):
            return None
        start, origin = _HEADER_BYTES, b""
        if header.flags & wire.ORIGIN:
            start += _ORIGIN_BYTES
            origin = first[_HEADER_BYTES:start]
        assignment = Assignment(
            header.id, header.attempt, header.worker, header.epoch, self.boot, origin
        )
        frames: Frames
        if header.frames:
            frames = rest
        elif header.flags & wire.NO_PAYLOAD:
            frames = ()
        else:
            frames = (first[start:],)
        if assignment in self.running or any(task.assignment == assignment for task in self._ahead):
            return None
        if header.flags & wire.AHEAD:
            self._ahead.append(Task(assignment, frames))
            return None
        self.running.append(assignment)
        return Task(assignment, frames)

    def _acknowledged(self, header: wire.Header) -> None:
        """Nothing of an earlier registration comes after the answer to the present one, so the
        numbers cannot be mistaken."""
        if not self.is_up or (header.worker, header.epoch) != (self.worker, self.epoch):
            return
        kept = self._kept
        while kept:
            first = kept[0]
            if first.delivery is not _Delivery.NUMBERED or first.number > header.ack:
                return
            self._keep_latest(kept.popleft())

    def _handle_who_are_you(self, _header: wire.Header, _first: bytes) -> None:
        self.register()

    def _handle_registered(self, header: wire.Header, first: bytes) -> Event | None:
        if not self._is_answer(header):
            return None
        self._standing = _Standing.UP
        self._settled = True
        self.worker, self.epoch = header.worker, header.epoch
        self.boot = first[_HEADER_BYTES : _HEADER_BYTES + 8] if header.flags & wire.BOOT else b""
        self.payload_max = header.seq
        self._sent = 0
        self._hand_ins_taken(header.ack)
        # A controller that was started anew is handed what the one before it may not have passed
        # on. If it does not arrive, the next restart is another chance.
        for kept in self._latest:
            if kept.assignment.boot != self.boot:
                self._hand_in(kept)
        self._unsaid = [
            running for running in self.running if running.boot != self.boot and running.origin
        ]
        self.pump()
        if self._wants_to_leave:
            self._send(wire.pack(wire.DRAIN), ())
        return Event.REGISTERED

    def _handle_redirect(self, header: wire.Header, first: bytes) -> Event | None:
        if not self._is_answer(header):
            return None
        self.redirect = first[_HEADER_BYTES:].decode(errors="replace")
        self._standing = _Standing.STRANGER
        self._settled = True
        self._hand_ins_taken(header.ack)
        return Event.REDIRECT

    def _handle_abort(self, header: wire.Header, _first: bytes) -> Abort | None:
        if not self.is_up or (header.worker, header.epoch) != (self.worker, self.epoch):
            return None
        for running in self.running:
            if (running.id, running.attempt, running.boot) == (
                header.id,
                header.attempt,
                self.boot,
            ):
                return Abort(running)
        return None

    def _handle_revoke(self, header: wire.Header, _first: bytes) -> None:
        """A task that waits here is given back. For one that has started, that has been said."""
        for index, task in enumerate(self._ahead):
            if (task.assignment.id, task.assignment.attempt) == (header.id, header.attempt):
                self._given_back.append(task.assignment)
                del self._ahead[index]
                self.pump()
                return

    def _handle_evict(self, header: wire.Header, _first: bytes) -> Event | None:
        if self.is_up and (header.worker, header.epoch) == (self.worker, self.epoch):
            self._standing = _Standing.STRANGER
            return Event.EVICTED
        return None

    def _handle_rejected(self, header: wire.Header, _first: bytes) -> Event | None:
        if not self._is_answer(header):
            # About a message, not about us: it is lost, and nothing is to be done.
            return None
        self._standing = _Standing.STRANGER
        self.rejection = header.code
        return Event.REJECTED

    def _handle_ping(self, header: wire.Header, _first: bytes) -> None:
        self._send(wire.pack(wire.PONG, id=header.id), ())

    # --- registrations

    def _is_answer(self, header: wire.Header) -> bool:
        """Whether a message answers our last registration, and not one before it."""
        return self._standing is _Standing.AWAITING and header.id == self._number

    def _introduce(self) -> None:
        """Hands in what is kept, then registers. If the connection stops taking in between, all is
        sent once more: a result that is handed in twice counts once."""
        # What has not started is the controller's to settle: it takes it for lost with us.
        self._ahead.clear()
        self._given_back.clear()
        self._unsaid.clear()
        self._unsent = 0
        for kept in self._kept:
            kept.delivery = _Delivery.HANDED_IN
        for kept in self._kept:
            if not self._hand_in(kept):
                return
        for running in self.running:
            if not self._send(self._hand_in_head(running, _STILL_RUNS, wire.NO_PAYLOAD, 0), ()):
                return
        flags = wire.NAMED | (wire.NO_REDIRECT if self._settled else 0)
        number = (self._number + 1) & 0xFFFFFFFF
        head = wire.pack(
            wire.REGISTER,
            flags=flags,
            seq=number,
            id=self._instance,
            extra=self._slots,
            worker=self._prefetch,
            epoch=len(self.running),
        )
        if not self._send(head + self._name + self._labels, ()):
            return
        self._number = number
        self._standing = _Standing.AWAITING

    def _hand_in(self, kept: _Kept) -> bool:
        inline = _is_inline(kept.frames)
        head = self._hand_in_head(
            kept.assignment,
            kept.verdict,
            0 if kept.frames else wire.NO_PAYLOAD,
            0 if inline else len(kept.frames),
            origin=True,
        )
        return self._send_payload(head, kept.frames, inline)

    def _hand_in_head(
        self,
        assignment: Assignment,
        code: int,
        flags: int,
        frames: int,
        *,
        origin: bool = False,
    ) -> bytes:
        shown = assignment.origin if origin else b""
        head = wire.pack(
            wire.HAND_IN,
            flags=flags | wire.HAS_WORKER | wire.BOOT | (wire.ORIGIN if shown else 0),
            frames=frames,
            # Who says so, in a message that comes before the registration.
            seq=self._instance & 0xFFFFFFFF,
            ack=self._instance >> 32,
            worker=assignment.worker,
            id=assignment.id,
            epoch=assignment.epoch,
            attempt=assignment.attempt,
            code=code,
        )
        return head + assignment.boot + shown

    def _hand_ins_taken(self, count: int) -> None:
        """The first ``count`` hand-ins are done with. That is all of them, unless the controller
        errs; the others are sent once more, as results."""
        taken = 0
        while taken < count and self._kept and self._kept[0].delivery is _Delivery.HANDED_IN:
            self._keep_latest(self._kept.popleft())
            taken += 1
        for kept in self._kept:
            kept.delivery = _Delivery.UNSENT
        self._unsent = len(self._kept)

    def _keep_latest(self, kept: _Kept) -> None:
        """An acknowledged result: the controller has it, but its client may not."""
        if not kept.assignment.origin:
            return
        self._latest_bytes += kept.byte_count()
        self._latest.append(kept)
        while len(self._latest) > _LATEST_MAX or self._latest_bytes > _LATEST_BYTES_MAX:
            self._latest_bytes -= self._latest.popleft().byte_count()

    def _send_results(self) -> bool:
        """Sent ones stand in front."""
        for index in range(len(self._kept) - self._unsent, len(self._kept)):
            kept = self._kept[index]
            assignment, frames, number = kept.assignment, kept.frames, self._sent + 1
            inline = _is_inline(frames)
            flags, past = wire.HAS_WORKER, b""
            if not frames:
                flags |= wire.NO_PAYLOAD
            if not self.is_present(assignment):
                flags |= wire.BOOT | (wire.ORIGIN if assignment.origin else 0)
                past = assignment.boot + assignment.origin
            head = _HEADER.pack(
                wire.VERSION,
                wire.RESULT,
                flags,
                0 if inline else len(frames),
                number,
                0,
                assignment.worker,
                assignment.id,
                assignment.epoch,
                assignment.attempt,
                kept.verdict,
                0,
            )
            if not self._send_payload(head + past, frames, inline):
                return False
            self._sent = kept.number = number
            kept.delivery = _Delivery.NUMBERED
            self._unsent -= 1
        return True

    def _send_payload(self, head: bytes, frames: Frames, inline: bool) -> bool:
        if not inline:
            return self._send(head, frames)
        return self._send(head + bytes(frames[0]) if frames else head, ())


def _is_inline(frames: Frames) -> bool:
    return not frames or (len(frames) == 1 and bytes_of(frames) <= _INLINE_BYTES_MAX)


def _attempt_message(kind: int, assignment: Assignment, flags: int = 0) -> bytes:
    return wire.pack(
        kind,
        flags=flags | wire.HAS_WORKER,
        worker=assignment.worker,
        id=assignment.id,
        epoch=assignment.epoch,
        attempt=assignment.attempt,
    )


def _with_past(kind: int, assignment: Assignment) -> bytes:
    """A message about an attempt of an earlier registration, or of an earlier controller."""
    flags = wire.BOOT | (wire.ORIGIN if assignment.origin else 0)
    return _attempt_message(kind, assignment, flags) + assignment.boot + assignment.origin
