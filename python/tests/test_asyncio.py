"""Futures in asyncio: they can be awaited, and nothing holds up the loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from typing import Any

import pytest

from taskyard.client import Client
from taskyard.errors import TaskCancelled
from taskyard.futures import Future

PATIENCE_S = 30.0


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, PATIENCE_S))


async def never_held_up(until: asyncio.Event) -> float:
    """The longest time for which the loop did nothing else, in seconds."""
    longest, before = 0.0, time.monotonic()
    while not until.is_set():
        await asyncio.sleep(0.001)
        now = time.monotonic()
        longest, before = max(longest, now - before), now
    return longest


def test_await(client: Client) -> None:
    async def main() -> list[int]:
        assert await client.submit(pow, 2, 10) == 1024
        done = client.submit(pow, 2, 3)
        done.result(PATIENCE_S)
        assert await done == 8
        return await asyncio.gather(*(client.submit(pow, number, 2) for number in range(200)))

    assert run(main()) == [number**2 for number in range(200)]


def test_await_one_after_the_other(client: Client) -> None:
    async def main() -> int:
        return sum([await client.submit(abs, number) for number in range(300)])

    assert run(main()) == sum(range(300))


def test_errors_are_raised_where_it_is_awaited(client: Client) -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await client.submit(divmod, 1, 0)
        with pytest.raises(TimeoutError):
            await client.options(finish_within=0.1).submit(time.sleep, 600)

    run(main())


def test_what_is_no_longer_awaited_is_cancelled(client: Client) -> None:
    async def main() -> concurrent.futures.Future[None]:
        future = client.submit(time.sleep, 600)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(future, 0.2)
        return future

    future = run(main())
    with pytest.raises(TaskCancelled):
        future.result(PATIENCE_S)


def test_wrap_future_and_its_cancellation(client: Client) -> None:
    async def main() -> concurrent.futures.Future[None]:
        assert await asyncio.wrap_future(client.submit(pow, 2, 4)) == 16
        future = client.submit(time.sleep, 600)
        wrapped = asyncio.wrap_future(future)
        await asyncio.sleep(0.1)
        wrapped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wrapped
        return future

    future = run(main())
    with pytest.raises(TaskCancelled):
        future.result(PATIENCE_S)


def test_it_is_an_executor_of_the_loop(client: Client) -> None:
    async def main() -> int:
        return await asyncio.get_running_loop().run_in_executor(client, pow, 2, 5)

    assert run(main()) == 32


def test_nothing_holds_up_the_loop(client: Client) -> None:
    """Not an assertion about speed: each of these would wait for a whole second, or for ever."""

    async def main() -> float:
        over = asyncio.Event()
        watch = asyncio.create_task(never_held_up(over))
        tasks = [client.submit(time.sleep, 600) for _ in range(20)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        client.all.submit(abs, 1)
        for task in tasks:
            with pytest.raises(TaskCancelled):
                await task
            assert isinstance(task.worker, str)
        over.set()
        return await watch

    # Twenty cancellations that waited would take up to twenty seconds in one go.
    assert run(main()) < 10


def test_two_loops_and_a_thread_wait_for_one_task(client: Client) -> None:
    future: Future[Any] = client.submit(time.sleep, 0.3)
    seen: list[Any] = []

    async def main() -> None:
        seen.append(await future)

    threads = [threading.Thread(target=lambda: run(main())) for _ in range(2)]
    threads.append(threading.Thread(target=lambda: seen.append(future.result(PATIENCE_S))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert seen == [None] * 3


def test_a_loop_that_is_gone_does_no_harm(client: Client) -> None:
    async def main() -> None:
        asyncio.create_task(waits()).add_done_callback(lambda _: None)
        await asyncio.sleep(0.05)

    future = client.submit(time.sleep, 0.3)

    async def waits() -> None:
        await future

    run(main())
    # Its end cancelled the task with it.
    concurrent.futures.wait([future], PATIENCE_S)
    assert future.done()
    assert client.submit(pow, 2, 2).result(PATIENCE_S) == 4
