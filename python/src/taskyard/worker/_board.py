"""What a worker's process lets its parent see without a word: a page of memory that both have.

The worker's process writes it, with one exception: the parent counts in ``DROPPED`` what it had to
throw away of the output. Each field is one aligned word of 64 bits, read and written whole.
"""

from __future__ import annotations

import mmap

# Whether it has been admitted by a controller, and whether it has left for good.
STATE = 0
WORKER = 1
EPOCH = 2
# When the oldest of the running attempts began, in nanoseconds of the monotonic clock; 0: idle.
BUSY_SINCE = 3
TASK = 4
ATTEMPT = 5
# Rises while somebody in the process listens to the controller although an attempt runs.
TICKS = 6
# Since when an attempt has been asked to stop and has not; 0: none.
ABORT_SINCE = 7
# Bytes of output that the parent threw away, since the process began.
DROPPED = 8
# Why it leaves: REASON_*.
REASON = 9
FIELDS = 16

STARTING = 0
REGISTERED = 1
LEFT = 2

REASON_NONE = 0
# The controller does not take it, whatever it does: its options are wrong.
REASON_REFUSED = 1


class Board:
    """The page. Made before the fork, it is shared by parent and child."""

    __slots__ = ("_memory", "words")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, FIELDS * 8)
        self.words: memoryview = memoryview(self._memory).cast("Q")

    def reset(self) -> None:
        """As for a process that has just begun."""
        for index in range(FIELDS):
            self.words[index] = 0

    def close(self) -> None:
        """Gives the memory back."""
        self.words.release()
        self._memory.close()
