"""The command line: which benchmarks, how long, beside whom."""

from __future__ import annotations

import argparse
import contextlib
from typing import NamedTuple

from benchmarks import arrays, start
from benchmarks.floor import floor
from benchmarks.measure import TRANSPORTS, command, machine, median, micros, table, timed
from benchmarks.subjects import PEERS, Subject, ours
from taskyard import _process

WORKERS = 2


class Sizes(NamedTuple):
    """How much is measured."""

    # Blocks of each subject, in turns with the others.
    blocks: int
    # Round trips of a block.
    trips: int
    # Tasks of a burst.
    burst: int
    # Starts of a program or a cluster.
    starts: int


LONG = Sizes(blocks=10, trips=500, burst=10_000, starts=20)
QUICK = Sizes(blocks=2, trips=50, burst=500, starts=2)


def round_trips(sizes: Sizes) -> None:
    """One no-op at a time; blocks of ours and of the floor alternate."""
    rows = []
    for transport in TRANSPORTS:
        with ours(transport, WORKERS) as first, floor(transport, WORKERS) as second:
            subjects: dict[str, Subject] = {"taskyard": first, "floor": second}
            samples: dict[str, list[float]] = {name: [] for name in subjects}
            for _ in range(sizes.blocks):
                for name, subject in subjects.items():
                    subject.burst(20)
                    samples[name] += [timed(subject.round_trip) for _ in range(sizes.trips)]
            rows += [(f"{name}, {transport}", *micros(taken)) for name, taken in samples.items()]
    title = f"submit(...).result() of a no-op, {WORKERS} workers, microseconds"
    table(title, ["", "p50", "p99", "max"], rows)


def bursts(sizes: Sizes) -> None:
    """Many no-ops, submitted one by one and then awaited."""
    rows = []
    for transport in TRANSPORTS:
        with ours(transport, WORKERS) as first, floor(transport, WORKERS) as second:
            subjects: dict[str, Subject] = {"taskyard": first, "floor": second}
            rates: dict[str, list[float]] = {name: [] for name in subjects}
            for _ in range(sizes.blocks):
                for name, subject in subjects.items():
                    taken = timed(subject.burst, sizes.burst)
                    rates[name].append(sizes.burst / taken)
            rows += [(f"{name}, {transport}", *_rates(values)) for name, values in rates.items()]
    title = f"{sizes.burst:,} no-ops, submitted one by one and awaited, {WORKERS} workers, tasks/s"
    table(title, ["", "median", "least", "most"], rows)


def _rates(values: list[float]) -> list[str]:
    return [f"{value:,.0f}" for value in (median(values), min(values), max(values))]


def peers(sizes: Sizes) -> None:
    """The same two figures of others, one after the other: most of them are never idle."""
    rows = []
    for name, make in PEERS.items():
        try:
            with contextlib.ExitStack() as stack:
                subject = stack.enter_context(make(WORKERS))
                subject.burst(50)
                trips = [timed(subject.round_trip) for _ in range(sizes.trips)]
                count = max(sizes.burst // 5, 100)
                rate = count / timed(subject.burst, count)
                rows.append((name, *micros(trips), f"{rate:,.0f}"))
        except ImportError as error:
            rows.append((name, "*skipped*", str(error), "", ""))
        except Exception as error:
            rows.append((name, "*skipped*", f"{type(error).__name__}: {error}"[:80], "", ""))
    heads = ["", "p50 (us)", "p99 (us)", "max (us)", "tasks/s"]
    table(f"peers, the same no-op, {WORKERS} workers", heads, rows)


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    choices = {
        "round-trip": round_trips,
        "burst": bursts,
        "array": lambda sizes: arrays.run(max(sizes.blocks, 3)),
        "start": lambda sizes: start.run(sizes.starts),
    }
    parser.add_argument("--only", action="append", choices=[*choices, "peers"], default=[])
    parser.add_argument("--peers", action="store_true", help="also those, where installed")
    parser.add_argument("--quick", action="store_true", help="shows that it works")
    given = parser.parse_args()
    sizes = QUICK if given.quick else LONG
    wanted = given.only or [*choices, *(["peers"] if given.peers else [])]
    print(f"`{command()}`: {machine()}; program {_process.find_binary()}")
    for name, call in {**choices, "peers": peers}.items():
        if name in wanted:
            call(sizes)


if __name__ == "__main__":
    main()
