"""The outermost process of a worker: it starts the nanny and outlives whatever happens to it.

Two processes watch over the workers, so that one of them may be killed without a word and still
nothing is left behind: when the nanny is gone, all that descends from it becomes the keeper's (the
kernel gives orphans to the nearest ancestor that adopts them) and is killed; when the keeper is
gone, the nanny's lifeline breaks, and it ends all the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from taskyard import _process

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def keep(run: Callable[[int], int]) -> int:
    """Runs ``run(lifeline)`` in a child process and gives its exit code, once nothing is left that
    descends from it. The lifeline is a descriptor that ends when this process does.

    It forks, so it must be called before there is a second thread. In the child it returns what
    ``run`` does: or whatever process ``run`` has made of itself by forking.
    """
    _process.adopt_orphans()
    lifeline, held = os.pipe()
    # What comes before the handlers are set waits until they are.
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    nanny = os.fork()
    if nanny == 0:
        os.close(held)
        # Ctrl-C of a terminal goes to its whole foreground group: the nanny shall count each once.
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        return run(lifeline)
    os.close(lifeline)

    def forward(number: int, _frame: FrameType | None) -> None:
        _process.kill_quietly(nanny, number)

    for number in _FORWARDED:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    status = _wait_for(nanny)
    for number in _FORWARDED:
        signal.signal(number, signal.SIG_IGN)
    _process.end_descendants()
    if os.WIFSIGNALED(status):
        print(
            f"taskyard: the nanny {nanny} {_process.say_status(status)}; its workers are ended",
            file=sys.stderr,
        )
        return 1
    return os.waitstatus_to_exitcode(status)


def _wait_for(nanny: int) -> int:
    """Waits for the nanny. Orphans that end meanwhile are waited for, too: nobody else would."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == nanny:
                return status
    return 0
