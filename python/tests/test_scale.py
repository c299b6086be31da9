"""Many tasks, and large ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

import taskyard

if TYPE_CHECKING:
    from taskyard.client import Client

pytestmark = [pytest.mark.scale, pytest.mark.timeout(300)]

COUNT = 100_000
WAITING = 10_000


def successor(n: int) -> int:
    return n + 1


def test_a_hundred_thousand_tasks_one_by_one(client: Client) -> None:
    futures = [client.submit(successor, n) for n in range(COUNT)]
    total = 0
    for future in taskyard.as_completed(futures):
        total += future.result()
    assert total == COUNT * (COUNT + 1) // 2


def test_a_hundred_thousand_tasks_by_map(client: Client) -> None:
    assert list(client.map(successor, range(COUNT), chunksize=100)) == list(range(1, COUNT + 1))


def test_what_waits_is_taken_away_by_the_thousand(client: Client) -> None:
    view = client.any
    held = [client.submit(time.sleep, 3600) for _ in range(2)]
    futures = [view.submit(successor, n) for n in range(WAITING)]
    view.shutdown(cancel_futures=True)
    # What had started is finished, and each future has one outcome.
    finished = sum(1 for n, future in enumerate(futures) if not future.cancelled())
    assert finished == sum(
        future.result(0) - n for n, future in enumerate(futures) if not future.cancelled()
    )
    assert finished < WAITING
    for future in held:
        assert not future.cancel()
        assert isinstance(future.exception(60), taskyard.TaskCancelled)


def test_a_large_array_goes_to_all_and_comes_back(client: Client) -> None:
    np = pytest.importorskip("numpy")
    array = np.arange(10_000_000, dtype=np.float64)
    sums = client.all.submit(np.sum, array).results(120)
    assert sums == [float(array.sum())] * 2
    doubled = client.submit(np.multiply, array, 2).result(120)
    np.testing.assert_array_equal(doubled, array * 2)
