"""What the benchmarks share: samples, tables, and a word about the machine."""

from __future__ import annotations

import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

Transport = Literal["ipc", "tcp"]
TRANSPORTS: tuple[Transport, ...] = ("ipc", "tcp")


def percentile(samples: Iterable[float], percent: float) -> float:
    """The smallest sample that so many percent do not exceed.

    >>> assert percentile(range(1, 101), 99) == 99
    """
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def micros(samples: Sequence[float]) -> list[str]:
    """p50, p99 and the largest, in microseconds, for a table."""
    values = (percentile(samples, 50), percentile(samples, 99), max(samples))
    return [f"{value * 1e6:,.0f}" for value in values]


def timed(call: Callable[..., object], *args: Any) -> float:
    """How long a call takes, in seconds."""
    begun = time.perf_counter()
    call(*args)
    return time.perf_counter() - begun


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table in Markdown."""
    print(f"\n**{title}**\n")
    print("| " + " | ".join(heads) + " |")
    print("| " + " | ".join("---" for _ in heads) + " |")
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def machine() -> str:
    """One line that says where this was measured."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return (
        f"{len(os.sched_getaffinity(0))} cores of {model}, {memory:.0f} GiB, Linux "
        f"{platform.release()}, Python {platform.python_version()}, load {load} at the start"
    )


def command() -> str:
    """How this program was called."""
    return " ".join(["python", "-m", "benchmarks", *sys.argv[1:]])


def median(samples: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(samples)
