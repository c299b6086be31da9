"""The pool, against what ``multiprocessing.Pool`` does with the same calls."""

from __future__ import annotations

import collections
import itertools
import multiprocessing
import multiprocessing.pool
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from taskyard.errors import TaskCancelled
from taskyard.pool import AsyncResult, Pool, PoolTimeout

if TYPE_CHECKING:
    from taskyard.client import Client
    from taskyard.cluster import Cluster

WAIT_S = 60.0


@pytest.fixture
def pool(client: Client) -> Iterator[Pool]:
    with Pool(client=client) as pool:
        yield pool


# Functions of a test module cannot be imported by a worker, so they go by value.


def square(x: int) -> int:
    return x * x


def fail_at_three(x: int) -> int:
    if x == 3:
        raise KeyError("three")
    return x


def wait_for_file(path: str) -> str:
    while not os.path.exists(path):
        time.sleep(0.005)
    return path


@pytest.mark.parametrize("chunksize", [None, 1, 7, 1000])
@pytest.mark.parametrize("count", [0, 1, 100])
def test_map_is_that_of_multiprocessing(pool: Pool, chunksize: int | None, count: int) -> None:
    with multiprocessing.pool.ThreadPool(2) as theirs:
        expected = theirs.map(square, range(count), chunksize)
        assert pool.map(square, range(count), chunksize) == expected
        assert pool.map_async(square, range(count), chunksize).get(WAIT_S) == expected


def test_starmap_spreads_each_item(pool: Pool) -> None:
    pairs = [(2, n) for n in range(20)]
    expected = list(itertools.starmap(pow, pairs))
    assert pool.starmap(pow, pairs) == expected
    assert pool.starmap(pow, iter(pairs), chunksize=3) == expected
    assert pool.starmap_async(pow, pairs).get(WAIT_S) == expected


@pytest.mark.parametrize("chunksize", [1, 4])
def test_imap_keeps_the_order_and_unordered_the_items(pool: Pool, chunksize: int) -> None:
    expected = [n * n for n in range(50)]
    assert list(pool.imap(square, range(50), chunksize)) == expected
    assert sorted(pool.imap_unordered(square, range(50), chunksize)) == expected


def test_imap_of_an_endless_input_gives_its_first_results(pool: Pool) -> None:
    results = pool.imap(square, itertools.count())
    assert [next(results) for _ in range(10)] == [n * n for n in range(10)]


def test_imap_unordered_does_not_wait_for_the_slow(pool: Pool, tmp_path: Path) -> None:
    def wait_or_go(path: str | None) -> str | None:
        return wait_for_file(path) if path else None

    path = str(tmp_path / "go")
    results = pool.imap_unordered(wait_or_go, [path, None])
    assert results.next(WAIT_S) is None
    Path(path).touch()
    assert results.next(WAIT_S) == path
    with pytest.raises(StopIteration):
        results.next(WAIT_S)
    with pytest.raises(StopIteration):
        next(results)


def test_an_item_that_fails_does_not_end_imap(pool: Pool) -> None:
    results = pool.imap(fail_at_three, range(5))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(results)
    assert list(results) == [4]


def test_an_input_that_fails_is_the_last_result(pool: Pool) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    results = pool.imap(square, numbers())
    assert next(results) == 1
    with pytest.raises(LookupError, match="no more"):
        next(results)
    assert list(results) == []


def test_apply_passes_names(pool: Pool) -> None:
    assert pool.apply(int, ("ff",), {"base": 16}) == 255
    assert pool.apply_async(int, ("11",), {"base": 2}).get(WAIT_S) == 3


def test_the_first_error_is_raised_and_told(pool: Pool) -> None:
    with pytest.raises(KeyError, match="three"):
        pool.map(fail_at_three, range(5))
    told: list[Any] = []
    result = pool.map_async(fail_at_three, range(5), 1, told.append, told.append)
    result.wait(WAIT_S)
    assert result.ready()
    assert not result.successful()
    assert [type(error) for error in told] == [KeyError]


def test_callbacks_have_returned_before_the_result_is_ready(pool: Pool) -> None:
    told: list[Any] = []

    def tell(value: object) -> None:
        time.sleep(0.05)
        told.append(value)

    assert pool.apply_async(square, (3,), callback=tell).get(WAIT_S) == 9
    assert told == [9]
    assert pool.map_async(square, [1, 2], callback=tell).get(WAIT_S) == [1, 4]
    assert told == [9, [1, 4]]
    assert pool.map_async(square, [], callback=tell).get(WAIT_S) == []
    assert told == [9, [1, 4], []]


def test_a_result_that_is_not_there_yet(pool: Pool, tmp_path: Path) -> None:
    path = str(tmp_path / "go")
    result: AsyncResult[str] = pool.apply_async(wait_for_file, (path,))
    assert not result.ready()
    with pytest.raises(ValueError, match="not ended"):
        result.successful()
    result.wait(0.01)
    for error in (multiprocessing.TimeoutError, TimeoutError, PoolTimeout):
        with pytest.raises(error):
            result.get(timeout=0.01)
    Path(path).touch()
    assert result.get(WAIT_S) == path
    assert result.successful()


def test_the_initializer_runs_once_in_each_process(client: Client, tmp_path: Path) -> None:
    def note(folder: str, word: str) -> None:
        with open(f"{folder}/{os.getpid()}", "a") as file:
            file.write(word)

    with Pool(client=client, initializer=note, initargs=(str(tmp_path), "x")) as pool:
        pids = set(pool.map(lambda _: os.getpid(), range(50), chunksize=1))
        assert pool.apply(os.getpid) in pids | {pool.apply(os.getpid)}
    for pid in pids:
        assert (tmp_path / str(pid)).read_text() == "x"


def test_a_closed_pool_finishes_and_takes_nothing_more(client: Client) -> None:
    pool = Pool(client=client)
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    late = pool.imap(square, range(500))
    results = [pool.apply_async(square, (n,)) for n in range(100)]
    pool.close()
    pool.join()
    assert all(result.ready() for result in results)
    assert sum(late) == sum(n * n for n in range(500))
    for call in (pool.map, pool.imap, pool.imap_unordered, pool.map_async, pool.starmap):
        with pytest.raises(ValueError, match="closed"):
            call(square, [])
    assert client.submit(square, 3).result(WAIT_S) == 9


def test_what_is_terminated_raises_and_does_not_hang(client: Client, tmp_path: Path) -> None:
    never = str(tmp_path / "never")
    pool = Pool(client=client)
    results = [pool.apply_async(wait_for_file, (never,)) for _ in range(20)]
    endless = pool.imap(square, itertools.count())
    pool.terminate()
    pool.join()
    for result in results:
        with pytest.raises(TaskCancelled):
            result.get(WAIT_S)
    with pytest.raises(TaskCancelled):
        collections.deque(endless, maxlen=0)
    # The workers are free for others, although some were in the middle of it.
    assert client.submit(square, 4).result(WAIT_S) == 16


def test_a_pool_of_its_own_ends_with_its_processes() -> None:
    with Pool(2) as pool:
        pids = set(pool.map(lambda _: os.getpid(), range(40), chunksize=1))
        assert os.getpid() not in pids
        assert pool.apply(square, (5,)) == 25
    with pytest.raises(ValueError, match="terminated"):
        pool.apply(square, (5,))


def test_a_pool_of_its_own_can_be_closed_and_joined() -> None:
    pool = Pool(1)
    result = pool.map_async(square, range(10))
    pool.close()
    pool.join()
    assert result.get(0) == [n * n for n in range(10)]


def test_a_pool_that_is_forgotten_says_so(client: Client) -> None:
    pool = Pool(1)
    with pytest.warns(ResourceWarning, match="unclosed pool"):
        pool.__del__()
    pool.terminate()


def test_the_environment_names_the_controller(
    client: Client, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_CONNECT", str(cluster.client_connection))
    theirs = set(client.map(lambda _: os.getpid(), range(20)))
    with Pool() as pool:
        assert pool.apply(os.getpid) in theirs | set(cluster.workers.values())


def test_senseless_wishes_are_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Pool(0)
    with pytest.raises(ValueError, match="either"):
        Pool(2, client=client)
    with pytest.raises(TypeError, match="callable"):
        Pool(2, initializer=3)  # type: ignore[arg-type]
    with Pool(client=client) as pool:
        for call in (pool.map, pool.imap):
            with pytest.raises(ValueError, match="chunksize"):
                call(square, [1], 0)
        with pytest.raises(TypeError, match="a pool cannot be sent"):
            pool.apply_async(square, (pool,))


def test_threads_share_a_pool(pool: Pool) -> None:
    seen: list[list[int]] = []

    def work() -> None:
        seen.append(pool.map(square, range(30)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [[n * n for n in range(30)]] * 8
