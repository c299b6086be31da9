"""How far a set of tasks is: a line on a terminal, a bar in a notebook, nothing in a log file.

``client.map(..., progress=True)`` shows it. It counts what has *ended*, in whatever order that is.
With tqdm installed it is tqdm that draws; nothing here needs it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Protocol, TextIO

__all__ = ["Bar", "track"]

# A terminal is drawn at most so often: more cannot be seen, and each drawing is a system call.
_DRAW_EVERY_S = 0.1
_BAR_COLUMNS_MAX = 40


class _Display(Protocol):
    """What draws. It is called by one thread at a time."""

    def show(self, done: int) -> None: ...

    def close(self, done: int) -> None: ...


class Bar:
    """A count of what is done, out of ``total``, drawn where the person looks.

    Several threads may count. ``file`` is where a terminal's line goes, standard error by default;
    if that is neither a terminal nor a notebook, nothing is drawn.

    >>> import io
    >>> with Bar(3, "seeds", file=io.StringIO()) as bar:
    ...     bar.update(2)
    >>> assert bar.done == 2
    """

    def __init__(
        self, total: int | None = None, desc: str | None = None, *, file: TextIO | None = None
    ) -> None:
        self.total = total
        self.desc = desc or ""
        self._done = 0
        self._lock = threading.Lock()
        self._display: _Display | None = _display_for(total, self.desc, file)

    @property
    def done(self) -> int:
        """How many have been counted."""
        return self._done

    def update(self, count: int = 1) -> None:
        """Counts ``count`` more. Past ``total`` nothing is counted."""
        with self._lock:
            self._done += count
            if self.total is not None:
                self._done = min(self._done, self.total)
            if self._display:
                self._display.show(self._done)

    def close(self, *, complete: bool = False) -> None:
        """Draws the last state, and nothing from then on. It may be called twice.

        With ``complete`` all have ended, also those that nobody has come to count yet.
        """
        with self._lock:
            if complete and self.total is not None:
                self._done = self.total
            display, self._display = self._display, None
            if display:
                display.close(self._done)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def track(
    futures: Iterable[Future[Any]],
    total: int | None = None,
    desc: str | None = None,
    *,
    per_future: int = 1,
    file: TextIO | None = None,
) -> Bar:
    """A bar that counts futures as they end, well or not. It closes itself with the last one;
    whoever stops waiting earlier closes it.

    ``total`` is the number of futures, times ``per_future``, unless it is told: with several items
    in each task, ``per_future`` is how many, and ``total`` the number of items.

    >>> import concurrent.futures, io
    >>> with concurrent.futures.ThreadPoolExecutor(2) as executor:
    ...     futures = [executor.submit(pow, 2, n) for n in range(10)]
    ...     bar = track(futures, desc="powers", file=io.StringIO())
    >>> assert bar.done == bar.total == 10
    """
    futures = list(futures)
    bar = Bar(len(futures) * per_future if total is None else total, desc, file=file)
    if not futures:
        bar.close()
    count = _Countdown(bar, len(futures), per_future)
    for future in futures:
        future.add_done_callback(count)
    return bar


class _Countdown:
    """A callback of futures: counts, and closes the bar after the last one."""

    def __init__(self, bar: Bar, left: int, per_future: int) -> None:
        self._bar = bar
        self._left = left
        self._per_future = per_future
        self._lock = threading.Lock()

    def __call__(self, _future: Future[Any]) -> None:
        self._bar.update(self._per_future)
        with self._lock:
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self._bar.close()


# --- what draws


def _display_for(total: int | None, desc: str, file: TextIO | None) -> _Display | None:
    """The best that there is here."""
    if file is None and in_notebook():
        return _notebook_display(total, desc)
    file = file if file is not None else sys.stderr
    # Under pythonw there is none; a closed one raises.
    with contextlib.suppress(AttributeError, ValueError):
        if file.isatty():
            return _tqdm_display(total, desc, file) or _Line(total, desc, file)
    return None


def in_notebook() -> bool:
    """Whether this process runs the cells of a notebook."""
    ipython = sys.modules.get("IPython")
    if ipython is None:
        return False
    shell = ipython.get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


def _notebook_display(total: int | None, desc: str) -> _Display:
    with contextlib.suppress(ImportError):
        import ipywidgets  # noqa: F401

        with contextlib.suppress(ImportError):
            from tqdm.notebook import tqdm

            return _Tqdm(tqdm(total=total, desc=desc or None, leave=True))
        return _Widget(total, desc)
    # A cell that shows text does know what "back to the start of the line" means.
    return _tqdm_display(total, desc, sys.stderr) or _Line(total, desc, sys.stderr)


def _tqdm_display(total: int | None, desc: str, file: TextIO) -> _Display | None:
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return _Tqdm(
        tqdm(total=total, desc=desc or None, file=file, mininterval=_DRAW_EVERY_S, leave=True)
    )


class _Tqdm:
    """tqdm draws."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def show(self, done: int) -> None:
        self._bar.update(done - self._bar.n)

    def close(self, done: int) -> None:
        self.show(done)
        self._bar.refresh()
        with warnings.catch_warnings():
            # A widget that has gone with its notebook page is no reason to complain.
            warnings.simplefilter("ignore")
            self._bar.close()


class _Widget:
    """A bar of ipywidgets, without tqdm."""

    def __init__(self, total: int | None, desc: str) -> None:
        import ipywidgets
        from IPython.display import display

        self._total = total
        self._begun = self._drawn = time.monotonic()
        self._bar = ipywidgets.IntProgress(0, 0, total or 1, description=desc)
        self._text = ipywidgets.Label()
        display(ipywidgets.HBox([self._bar, self._text]))

    def show(self, done: int) -> None:
        now = time.monotonic()
        if now - self._drawn >= _DRAW_EVERY_S:
            self._draw(done, now)

    def close(self, done: int) -> None:
        self._draw(done, time.monotonic())
        self._bar.bar_style = "success" if done == self._total else "warning"

    def _draw(self, done: int, now: float) -> None:
        self._drawn = now
        if self._total is not None:
            self._bar.value = done
        self._text.value = _say(done, self._total, now - self._begun)


class _Line:
    """One line of a terminal, drawn over and over."""

    def __init__(self, total: int | None, desc: str, file: TextIO) -> None:
        self._total = total
        self._desc = f"{desc}: " if desc else ""
        self._file = file
        self._begun = time.monotonic()
        self._drawn = self._begun
        self._draw(0, self._begun)

    def show(self, done: int) -> None:
        now = time.monotonic()
        if now - self._drawn >= _DRAW_EVERY_S:
            self._draw(done, now)

    def close(self, done: int) -> None:
        self._draw(done, time.monotonic())
        self._write("\n")

    def _draw(self, done: int, now: float) -> None:
        self._drawn = now
        said = _say(done, self._total, now - self._begun)
        columns = _columns_of(self._file)
        line = self._desc + said
        if self._total:
            room = min(columns - len(line) - len("100% || ") - 1, _BAR_COLUMNS_MAX)
            percent = f"{100 * done // self._total:3d}% "
            filled = room * done // self._total
            bar = f"|{'#' * filled}{' ' * (room - filled)}| " if room >= 5 else ""
            line = f"{self._desc}{percent}{bar}{said}"
        # The last column stays free: a terminal may go to the next line there.
        self._write("\r" + line[: columns - 1] + "\x1b[K")

    def _write(self, text: str) -> None:
        # That nobody looks any more must not end the work.
        with contextlib.suppress(OSError, ValueError):
            self._file.write(text)
            self._file.flush()


def _columns_of(file: TextIO) -> int:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        columns = os.get_terminal_size(file.fileno()).columns
        if columns > 0:
            return columns
    return max(shutil.get_terminal_size().columns, 20)


def _say(done: int, total: int | None, elapsed_s: float) -> str:
    """Numbers and times in words.

    >>> assert _say(50, 200, 10.0) == "50/200 [00:10<00:30, 5.0/s]"
    """
    rate = done / elapsed_s if elapsed_s > 0 else 0.0
    speed = f"{rate:,.1f}/s" if rate >= 1 or not rate else f"{1 / rate:,.1f} s each"
    if total is None:
        return f"{done} [{_clock(elapsed_s)}, {speed}]"
    left = f"<{_clock((total - done) / rate)}" if rate else "<?"
    return f"{done}/{total} [{_clock(elapsed_s)}{left}, {speed}]"


def _clock(seconds: float) -> str:
    """A time span as a clock shows it.

    >>> assert (_clock(65.9), _clock(3600)) == ("01:05", "1:00:00")
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"
