"""The parent of the worker processes: starts them, replaces those that die, kills those that hang.

It has one thread and no socket, so it may fork at any time, and a replacement is there in
milliseconds: the modules that a worker needs are loaded already. What it knows of its children it
reads from their boards. It kills a child that

- stays in an aborted call for longer than the grace, or
- cannot hear the controller (it holds the interpreter's lock) and has been given up by it: that is
  asked by a short-lived process, since a process that has used ZeroMQ must not fork.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskyard import _process

from . import _board
from ._options import Options

# How often the boards are looked at while somebody works, and while nobody does.
_LOOK_BUSY_S = 0.1
_LOOK_IDLE_S = 1.0
# A child whose ticks stand still for so long while it works hears nothing.
_DEAF_S = 1.0
# When the process that asks about a deaf child may be replaced, if it has died.
_ASK_AGAIN_S = 5.0
# One that dies sooner than this counts as one that cannot start.
_SETTLED_S = 5.0
_BACKOFF_S = 0.2
_BACKOFF_MAX_S = 10.0
# How long a child that has left may take to end, and one that is to go now.
_LEAVE_PATIENCE_S = 5.0
_CLOSE_PATIENCE_S = 0.5
_PIPE_FULL_BYTES = 48 * 1024
# Exit code of the process that asks.
_GIVEN_UP = 10

DRAIN = b"d"


class BecomeWorker(BaseException):
    """Unwinds the nanny's stack in a child that has just been forked."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place


@dataclass(frozen=True)
class Place:
    """Where a worker's process finds what its parent made for it."""

    options: Options
    board: _board.Board
    # Ends when the parent does; ``DRAIN`` in it asks to leave politely.
    lifeline: int
    # Both ends of the pipes that standard output and error go through.
    stdout: tuple[int, int]
    stderr: tuple[int, int]


@dataclass
class _Child:
    """A worker that there shall be, and its present process."""

    options: Options
    board: _board.Board = field(default_factory=_board.Board)
    pid: int = 0
    lifeline: int = -1
    stdout: int = -1
    stderr: int = -1
    started_at: float = 0.0
    # When to start it (again), while it has no process.
    start_at: float = 0.0
    failures: int = 0
    # It shall not be replaced; after ``kill_at`` it is killed.
    ending: bool = False
    kill_at: float = float("inf")
    left_at: float = 0.0
    ticks: int = 0
    ticked_at: float = 0.0
    # The process that asks about it, and since when.
    asker: int = 0
    asked_at: float = 0.0
    why: str = ""


class Nanny:
    """Looks after the workers until there are none left, or until it is told to stop."""

    def __init__(self, options: Options, *, lifeline: int, controlled: bool, status: str | None):
        self._options = options
        self._lifeline = lifeline
        self._controlled = controlled
        self._status = status
        self._children: dict[str, _Child] = {}
        self._interrupts = 0
        self._orders = b""
        self._reader, self._writer = socket.socketpair()
        self._stopping = False

    def add(self, options: Options) -> None:
        """A worker more; one of that name that is ending is replaced."""
        child = self._children.get(options.name)
        if child is None or child.ending:
            if child is not None:
                self._kill(child, "its name is wanted again")
            self._children[options.name] = _Child(options)

    def add_named(self, name: str) -> None:
        """A worker more, with the options of all and this name."""
        self.add(dataclasses.replace(self._options, name=name))

    def run(self) -> int:
        """Until the end. Raises :class:`BecomeWorker` in each child that it forks."""
        _process.adopt_orphans()
        self._listen()
        # What there is by now is never freed: so its pages stay shared with the children.
        gc.collect()
        gc.freeze()
        poll = select.poll()
        for descriptor in (self._reader.fileno(), self._lifeline):
            poll.register(descriptor, select.POLLIN)
        if self._controlled:
            os.set_blocking(0, False)
            poll.register(0, select.POLLIN)
        code = 0
        while True:
            code |= self._reap()
            self._start_due()
            if not self._children and (self._stopping or not self._controlled):
                break
            for descriptor, _ in poll.poll(self._timeout_ms()):
                if descriptor == self._reader.fileno():
                    self._handle_signals()
                elif descriptor == self._lifeline:
                    self._stop(0.0, "the process that keeps the nanny is gone")
                    poll.unregister(descriptor)
                elif not self._handle_orders():
                    poll.unregister(0)
            self._look()
        _process.end_descendants()
        return code

    def _listen(self) -> None:
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGQUIT,
            signal.SIGCHLD,
        ):
            signal.signal(number, lambda _number, _frame: None)

    def _timeout_ms(self) -> float:
        now = time.monotonic()
        busy = any(
            child.pid and child.board.words[_board.BUSY_SINCE] for child in self._children.values()
        )
        due = now + (_LOOK_BUSY_S if busy or self._stopping else _LOOK_IDLE_S)
        for child in self._children.values():
            due = min(due, child.kill_at if child.pid else child.start_at)
        return max(0.0, due - now) * 1000 + 1

    # --- what it is told

    def _handle_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._reader.recv(64):
                if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
                    self._interrupts += 1
                    if self._interrupts == 1 and number != signal.SIGQUIT:
                        self._drain_all()
                    else:
                        self._stop(0.0, "asked to end at once")

    def _handle_orders(self) -> bool:
        """Lines of JSON on standard input; its end is an order to stop. False: it has ended."""
        try:
            data = os.read(0, 65536)
        except BlockingIOError:
            return True
        if not data:
            self._stop(_CLOSE_PATIENCE_S, "asked to end")
            return False
        *lines, self._orders = (self._orders + data).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))
        return True

    def _obey(self, order: dict[str, Any]) -> None:
        if "add" in order:
            labels = tuple(order.get("labels", self._options.labels))
            self.add(dataclasses.replace(self._options, name=order["add"], labels=labels))
        elif "drain" in order and order["drain"] in self._children:
            self._drain(self._children[order["drain"]])

    def _drain_all(self) -> None:
        self._stopping = True
        for child in list(self._children.values()):
            self._drain(child)

    def _drain(self, child: _Child) -> None:
        child.ending = True
        if not child.pid:
            self._forget(child)
            return
        with contextlib.suppress(OSError):
            os.write(child.lifeline, DRAIN)

    def _stop(self, patience_s: float, why: str) -> None:
        self._drain_all()
        kill_at = time.monotonic() + patience_s
        for child in list(self._children.values()):
            child.kill_at = min(child.kill_at, kill_at)
            if patience_s == 0:
                self._kill(child, why)

    # --- starting

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in list(self._children.values()):
            if not child.pid and child.start_at <= now:
                self._start(child)
                self._write_status()

    def _start(self, child: _Child) -> None:
        child.board.reset()
        life, stdout, stderr = os.pipe(), os.pipe(), os.pipe()
        ours, theirs = (life[1], stdout[0], stderr[0]), (life[0], stdout[1], stderr[1])
        for read in (stdout[0], stderr[0]):
            # Shared with the child, which reads them too: neither may hang in it.
            os.set_blocking(read, False)
        sys.stdout.flush()
        sys.stderr.flush()
        me = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become(child, me, life, stdout, stderr)
        _process.close_all(theirs)
        child.pid = pid
        child.lifeline, child.stdout, child.stderr = ours
        child.started_at = child.ticked_at = time.monotonic()
        child.ticks = 0
        child.left_at = 0.0
        child.why = ""

    def _become(
        self,
        child: _Child,
        parent: int,
        life: tuple[int, int],
        stdout: tuple[int, int],
        stderr: tuple[int, int],
    ) -> None:
        """In the new process: lets go of all that is the nanny's."""
        _process.die_with_parent(parent)
        signal.set_wakeup_fd(-1)
        for number in (
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGQUIT,
            signal.SIGCHLD,
        ):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        for other in self._children.values():
            if other.pid:
                _process.close_all((other.lifeline, other.stdout, other.stderr))
        _process.close_all((life[1], self._lifeline))
        self._reader.close()
        self._writer.close()
        # Nobody types for a worker; and where standard input is the nanny's own lifeline, no
        # child of a task may read it.
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.environ["TASKYARD_WORKER_PID"] = str(os.getpid())
        raise BecomeWorker(Place(child.options, child.board, life[0], stdout, stderr))

    # --- ending

    def _reap(self) -> int:
        """Waits for those that died; gives 1 if one of them was refused for good."""
        code = 0
        for pid, status in _process.reap_all():
            for child in list(self._children.values()):
                if child.pid == pid:
                    code |= self._handle_death(child, status)
                elif child.asker == pid:
                    child.asker = 0
                    self._handle_answer(child, status)
        return code

    def _handle_death(self, child: _Child, status: int) -> int:
        pid, words = child.pid, child.board.words
        self._stop_asking(child)
        self._end_what_is_left(pid)
        for descriptor in (child.stdout, child.stderr):
            self._pass_on(descriptor)
        _process.close_all((child.lifeline, child.stdout, child.stderr))
        child.pid = 0
        refused = words[_board.REASON] == _board.REASON_REFUSED
        if child.ending or refused or words[_board.STATE] == _board.LEFT:
            self._forget(child)
            return int(refused)
        lived_s = time.monotonic() - child.started_at
        if lived_s < _SETTLED_S and words[_board.STATE] == _board.STARTING:
            child.failures += 1
        else:
            child.failures = 0
        wait_s = 0.0
        if child.failures:
            wait_s = min(_BACKOFF_S * 2 ** (child.failures - 1), _BACKOFF_MAX_S)
        child.start_at = time.monotonic() + wait_s
        self._say_death(child, pid, status, wait_s)
        return 0

    def _say_death(self, child: _Child, pid: int, status: int, wait_s: float) -> None:
        words = child.board.words
        what = child.why or _process.say_status(status)
        if words[_board.BUSY_SINCE]:
            since_s = (time.monotonic_ns() - words[_board.BUSY_SINCE]) / 1e9
            what += f", {since_s:.1f} s into attempt {words[_board.ATTEMPT]} of a task"
        when = "a new one starts" if not wait_s else f"a new one starts in {wait_s:.1f} s"
        _say(f"worker {child.options.name}: process {pid} {what}; {when}")

    def _forget(self, child: _Child) -> None:
        if self._children.get(child.options.name) is child:
            del self._children[child.options.name]
        self._write_status()

    def _kill(self, child: _Child, why: str) -> None:
        """Kills its process, which is then replaced, unless it shall end."""
        if not child.pid or child.why:
            return
        child.why = f"is killed: {why}"
        _process.kill_quietly(child.pid)

    def _end_what_is_left(self, session: int) -> None:
        """Kills what a dead child has left behind: what was in its session, or was started with its
        mark. Some of it may be stopped only with its parents, so it is looked for again."""
        mark = f"TASKYARD_WORKER_PID={session}"
        for _ in range(100):
            victims = [
                pid
                for pid in _process.descendants_of(os.getpid())
                if _process.is_running(pid)
                and (_process.session_of(pid) == session or _process.environment_has(pid, mark))
            ]
            if not victims:
                return
            for pid in victims:
                _process.kill_quietly(pid)
            time.sleep(0.002)

    # --- looking after them

    def _look(self) -> None:
        now = time.monotonic()
        for child in list(self._children.values()):
            if not child.pid:
                continue
            words = child.board.words
            if words[_board.STATE] == _board.LEFT:
                child.left_at = child.left_at or now
                if now - child.left_at > _LEAVE_PATIENCE_S:
                    self._kill(child, "it has left and does not end")
            if now >= child.kill_at:
                self._kill(child, "it does not end")
            abort_since = words[_board.ABORT_SINCE]
            if abort_since:
                asked_s = (time.monotonic_ns() - abort_since) / 1e9
                if asked_s > child.options.abort_grace_s:
                    self._kill(
                        child, f"it was asked {asked_s:.1f} s ago to stop a call, and has not"
                    )
            self._look_for_deafness(child, now)

    def _look_for_deafness(self, child: _Child, now: float) -> None:
        words = child.board.words
        ticks = words[_board.TICKS]
        if not words[_board.BUSY_SINCE] or ticks != child.ticks:
            child.ticks, child.ticked_at = ticks, now
            self._stop_asking(child)
            return
        if now - child.ticked_at < _DEAF_S:
            return
        for descriptor in (child.stdout, child.stderr):
            self._relieve(child, descriptor)
        if not child.asker and now - child.asked_at > _ASK_AGAIN_S:
            self._ask(child, now)

    def _relieve(self, child: _Child, descriptor: int) -> None:
        """A deaf child does not read what it writes, and would wait for itself for ever once the
        pipe is full: so its output is thrown away, and counted."""
        if _waiting_bytes(descriptor) < _PIPE_FULL_BYTES:
            return
        with contextlib.suppress(BlockingIOError):
            dropped = len(os.read(descriptor, 1 << 20))
            child.board.words[_board.DROPPED] += dropped

    def _ask(self, child: _Child, now: float) -> None:
        """Starts a process that asks the controller until that has given this child up."""
        child.asked_at = now
        me = os.getpid()
        pid = os.fork()
        if pid:
            child.asker = pid
            return
        code = 1
        try:
            _process.die_with_parent(me)
            signal.set_wakeup_fd(-1)
            from ._ask import ask_until_given_up

            ask_until_given_up(child.options, child.board.words[_board.EPOCH])
            code = _GIVEN_UP
        except Exception as error:
            _say(f"asking about worker {child.options.name} has failed: {error}")
        finally:
            os._exit(code)

    def _stop_asking(self, child: _Child) -> None:
        if child.asker:
            _process.kill_quietly(child.asker)
            child.asker, child.asked_at = 0, 0.0

    def _handle_answer(self, child: _Child, status: int) -> None:
        gone = os.WIFEXITED(status) and os.WEXITSTATUS(status) == _GIVEN_UP
        if gone and child.board.words[_board.TICKS] == child.ticks:
            self._kill(child, "it hears nothing, and the controller has given it up")

    def _pass_on(self, descriptor: int) -> None:
        """What a dead child has printed last is often why."""
        with contextlib.suppress(OSError):
            while data := os.read(descriptor, 65536):
                os.write(2, data)

    def _write_status(self) -> None:
        """Which processes there are now, for whoever started us."""
        if self._status is None:
            return
        rows = {child.options.name: child.pid for child in self._children.values()}
        path = Path(self._status)
        with contextlib.suppress(OSError):
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(rows), encoding="utf-8")
            fresh.replace(path)


def _waiting_bytes(descriptor: int) -> int:
    import array
    import fcntl
    import termios

    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        print(f"taskyard: {line}", file=sys.stderr, flush=True)
