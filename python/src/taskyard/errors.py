"""What can go wrong with a task, a client or a controller, and who is at fault.

Each message says in one line what happened and what to do. What a *task* raised is raised again as
what it was; the errors here are about everything else.
"""

from __future__ import annotations

import concurrent.futures
from typing import NamedTuple

from taskyard._wire import ConnectionFileError

__all__ = [
    "ConnectionFileError",
    "ControllerLost",
    "ForkedClient",
    "LostAttempt",
    "MulticastError",
    "NotSerializable",
    "Refused",
    "RemoteError",
    "RemoteTraceback",
    "TaskCancelled",
    "TaskTimeout",
    "TaskyardError",
    "WorkerLost",
]


class TaskyardError(Exception):
    """The base of the errors of this package, apart from what tasks raise themselves."""


class LostAttempt(NamedTuple):
    """One execution that was lost with its worker."""

    #: Which execution, from 1; 0 if the controller did not say.
    attempt: int
    #: The worker's place in the controller's table.
    worker: int
    #: The worker's name; empty if the controller does not know it any more.
    name: str

    def __str__(self) -> str:
        said = self.name or f"number {self.worker}"
        return f"{said} (attempt {self.attempt})" if self.attempt else said


class WorkerLost(TaskyardError):
    """The worker that ran the task is gone, and the task may not run again.

    The worker died, was killed (out of memory?) or lost its network. ``attempts_on_loss`` says how
    often a task may be started; a task that does not mind being run twice can be given more.

    >>> lost = WorkerLost([LostAttempt(1, 3, "gpu-3")], 1)
    >>> assert lost.worker == "gpu-3" and "gpu-3" in str(lost)
    """

    def __init__(self, lost: list[LostAttempt], attempts: int) -> None:
        super().__init__(lost, attempts)
        #: The executions that were lost with their worker, the latest last, as far as is known.
        self.lost = lost
        #: How many executions were started.
        self.attempts = attempts

    @property
    def worker(self) -> str:
        """The name of the worker that was lost last; its number if it is not known by name."""
        if not self.lost:
            return ""
        return self.lost[-1].name or str(self.lost[-1].worker)

    def __str__(self) -> str:
        if not self.lost:
            return "no worker could say how the task ended: it may have run, and does not run again"
        names = ", ".join(map(str, self.lost))
        times = "once" if self.attempts == 1 else f"{self.attempts} times"
        return (
            f"the task was started {times} and lost with its worker: {names}; "
            "look there for why, or allow more with options(attempts_on_loss=...)"
        )


class TaskTimeout(TaskyardError, TimeoutError):
    """The task did not start, or did not finish, in the time that it was given.

    >>> assert isinstance(TaskTimeout(started=False), TimeoutError)
    """

    def __init__(self, started: bool) -> None:
        super().__init__(started)
        #: False: it never started, and did nothing. True: it was stopped.
        self.started = started

    def __str__(self) -> str:
        if self.started:
            return "the task did not finish within its finish_within, and was stopped"
        return "the task did not start within its start_within: no worker was free for it"


class TaskCancelled(TaskyardError, concurrent.futures.CancelledError):
    """The task was cancelled: by this client, or by an operator."""

    def __init__(self, started: bool = False, reason: str = "") -> None:
        super().__init__(started, reason)
        #: Whether it had started, or may have: then it may have done part of its work.
        self.started = started
        self.reason = reason

    def __str__(self) -> str:
        if self.reason:
            return f"the task was dropped: {self.reason}; it may have started"
        return f"the task was cancelled {'while it ran' if self.started else 'before it started'}"


_REFUSALS = {
    1: ("the controller has no room for more tasks", "submit less at once, or raise --tasks-max"),
    2: ("this client's quota is full", "submit less at once, or raise --quota"),
    3: ("there is no such worker", "look at client.workers, or wait until it is there"),
    4: ("there is no worker of that name", "check the name, or wait until it is there"),
    5: ("there are too many workers for one multicast", "raise the controller's limit"),
    6: ("the controller does not know this client", "this should not happen; report it"),
    7: ("the controller cannot read it", "take this package and the controller together"),
    8: ("the arguments are too large", "raise --payload-max-bytes, or pass a path to the data"),
    9: ("the controller holds too many bytes", "submit less at once"),
    10: ("the controller has no room for another label", "use fewer labels"),
}


class Refused(TaskyardError):
    """The controller did not take the task: it has not run and will not.

    >>> refused = Refused(8)
    >>> assert refused.reason == 8 and "--payload-max-bytes" in str(refused)
    """

    def __init__(self, reason: int) -> None:
        super().__init__(reason)
        #: The number of the reason, as ``docs/PROTOCOL.md`` lists them.
        self.reason = reason

    def __str__(self) -> str:
        what, advice = _REFUSALS.get(
            self.reason, (f"reason {self.reason}", "see docs/PROTOCOL.md, section 3")
        )
        return f"the task was refused: {what}; {advice}"


class ControllerLost(TaskyardError, concurrent.futures.BrokenExecutor):
    """The controller is gone for good, or does not let this client in: nothing more can be
    submitted, and what had no outcome never gets one (it may have run)."""


class ForkedClient(TaskyardError, RuntimeError):
    """A client, or one of its futures, was used in a forked child process: make a client there."""


class NotSerializable(TaskyardError, TypeError):
    """A function, an argument or a result cannot be sent to another process."""


class RemoteError(TaskyardError):
    """A task failed in a way that cannot be raised here as what it was.

    >>> error = RemoteError("ValueError", "no such seed", "gpu-3")
    >>> assert "ValueError: no such seed" in str(error)
    """

    def __init__(self, type: str, message: str, worker: str = "") -> None:
        super().__init__(type, message, worker)
        #: What was raised there, as text.
        self.type = type
        self.message = message
        #: The name of the worker.
        self.worker = worker

    def __str__(self) -> str:
        where = f"on {self.worker}: " if self.worker else ""
        return f"{where}{self.type}: {self.message}" if self.type else where + self.message


class RemoteTraceback(Exception):
    """The traceback of the worker as text: the ``__cause__`` of what a task raised."""

    def __init__(self, traceback: str, worker: str = "") -> None:
        super().__init__(traceback, worker)
        self.traceback = traceback
        self.worker = worker

    def __str__(self) -> str:
        where = f"on worker {self.worker}\n" if self.worker else ""
        return f'{where}\n"""\n{self.traceback}"""'


class MulticastError(TaskyardError):
    """A task for all workers did not complete on some of them."""

    def __init__(self, failed: dict[str, BaseException], workers: int) -> None:
        super().__init__(failed, workers)
        #: What went wrong, by the name of the worker.
        self.failed = failed
        #: How many workers it was for.
        self.workers = workers

    def __str__(self) -> str:
        first = next(iter(self.failed), "")
        shown = f"{first}: {self.failed[first]!r}" if first else ""
        return f"{len(self.failed)} of {self.workers} workers did not complete the task; {shown}"
