"""How long it takes until there is something: the import, and a cluster."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.measure import percentile, table, timed
from taskyard import Client, Cluster

WORKERS = 8

PROGRAMS = {
    "python alone": "pass",
    "import taskyard": "import taskyard",
    "from taskyard import Client, Cluster": "from taskyard import Client, Cluster",
}


def run(starts: int) -> None:
    """Starts each in turn."""
    samples: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(starts):
        for name, program in PROGRAMS.items():
            command = [sys.executable, "-c", program]
            samples[name].append(timed(subprocess.check_call, command))
    ready, answered = [], []
    for _ in range(max(starts // 2, 2)):
        begun = time.perf_counter()
        with Cluster(workers=WORKERS) as cluster:
            ready.append(time.perf_counter() - begun)
            _ask(cluster)
            answered.append(time.perf_counter() - begun)
    samples[f"Cluster(workers={WORKERS}) is ready"] = ready
    samples["... and a client has an answer of every worker"] = answered
    rows = [
        (name, *(f"{1000 * percentile(taken, percent):,.0f}" for percent in (50, 99, 100)))
        for name, taken in samples.items()
    ]
    table("starting, milliseconds", ["", "p50", "p99", "max"], rows)


def _ask(cluster: Cluster) -> None:
    with Client(cluster) as client:
        assert len(client.all.submit(int).results()) == WORKERS
