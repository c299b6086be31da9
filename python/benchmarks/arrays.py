"""80 MB to each of eight workers: how often it is pickled, how often its bytes move, how long."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import TRANSPORTS, median, table, timed
from taskyard import Client, Cluster

WORKERS = 8
ELEMENTS = 10_000_000


class Counted(np.ndarray[Any, np.dtype[np.float64]]):
    """An array that counts how often it is pickled."""

    pickled = 0

    def __reduce_ex__(self, protocol: Any) -> Any:
        Counted.pickled += 1
        return self.view(np.ndarray).__reduce_ex__(protocol)


def run(rounds: int) -> None:
    """Sends it to all, several times."""
    array = np.arange(ELEMENTS, dtype=np.float64).view(Counted)
    expected = [float(array.sum())] * WORKERS
    rows = []
    for transport in TRANSPORTS:
        with Cluster(workers=WORKERS, transport=transport) as cluster, Client(cluster) as client:
            client.all.submit(np.sum, array[:10]).results()
            Counted.pickled = 0
            before, sent = _peak_mb(), _loopback_bytes()
            taken = [timed(_send, client, array, expected) for _ in range(rounds)]
            moved = (_loopback_bytes() - sent) / array.nbytes / rounds
            rows.append(
                (
                    transport,
                    f"{Counted.pickled / rounds:g}",
                    f"{_peak_mb() - before:,.0f}",
                    f"{moved:.2f}" if transport == "tcp" else "",
                    f"{median(taken):.2f}",
                    f"{max(taken):.2f}",
                )
            )
    heads = [
        "",
        "pickled",
        "client's peak grew by (MB)",
        "times over the loopback interface",
        "median (s)",
        "max (s)",
    ]
    table(f"{array.nbytes / 1e6:.0f} MB to all of {WORKERS} workers", heads, rows)
    copies = median([timed(_copy, array) for _ in range(3)])
    print(
        f"\nThe least there can be is 1 pickle, 0 MB (a copy would be 80), and {WORKERS + 1} times:"
        f" once to the controller, and once to each worker. Copying it {WORKERS + 1} times in"
        f" memory takes {copies:.2f} s here."
    )


def _send(client: Client, array: Any, expected: list[float]) -> None:
    assert client.all.submit(np.sum, array).results() == expected


def _copy(array: Any) -> None:
    for _ in range(WORKERS + 1):
        array.copy()


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _loopback_bytes() -> int:
    path = Path("/sys/class/net/lo/statistics/tx_bytes")
    return int(path.read_text()) if os.access(path, os.R_OK) else 0
