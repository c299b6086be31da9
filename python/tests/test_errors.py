"""What goes wrong with tasks and workers, and what the client says of it; and options."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

import taskyard
from taskyard.client import Client
from taskyard.cluster import Cluster
from taskyard.errors import LostAttempt, Refused, RemoteError, TaskTimeout, WorkerLost
from taskyard.futures import Future

PATIENCE_S = 30.0
NAMES = ["one", "two", "three"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    labels = {"one": ["gpu"], "two": ["gpu", "big"], "three": []}
    with Cluster(workers=3, names=NAMES, labels=labels) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Client]:
    """A client whose workers are all there, also those that a test before has ended."""
    cluster.wait_for_workers(3, PATIENCE_S)
    with Client(cluster) as client:
        yield client


@pytest.fixture
def busy(client: Client) -> Iterator[list[Future[None]]]:
    tasks = [client.worker(name).submit(time.sleep, 600) for name in NAMES]
    yield tasks
    for task in tasks:
        task._request_cancel()
    concurrent.futures.wait(tasks)


def wait_for(path: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- errors of tasks


def test_the_remote_traceback_is_shown(client: Client) -> None:
    def deeper(seed: int) -> None:
        raise ValueError(f"bad seed {seed}")

    def simulate(seed: int) -> None:
        deeper(seed)

    future = client.submit(simulate, 7)
    with pytest.raises(ValueError, match="bad seed 7") as caught:
        future.result(PATIENCE_S)
    shown = "".join(traceback.format_exception(caught.value))
    assert "in simulate" in shown
    assert "in deeper" in shown
    assert f"on worker {future.worker}" in shown
    assert "taskyard/worker" not in str(caught.value.__cause__)


def test_a_task_that_exits_is_an_error_here(client: Client) -> None:
    with pytest.raises(RemoteError, match="SystemExit") as caught:
        client.submit(sys.exit, 3).result(PATIENCE_S)
    assert caught.value.worker in NAMES


# --- workers that are lost


def test_a_lost_worker_is_named(client: Client) -> None:
    future = client.worker("two").submit(os._exit, 3)
    with pytest.raises(WorkerLost, match="two") as caught:
        future.result(PATIENCE_S)
    assert caught.value.worker == "two"
    assert caught.value.attempts == 1
    assert [(lost.attempt, lost.name) for lost in caught.value.lost] == [(1, "two")]


def test_every_worker_that_was_lost_is_named(client: Client) -> None:
    future = client.submit(os._exit, 3)
    with pytest.raises(WorkerLost) as caught:
        future.result(PATIENCE_S)
    assert caught.value.attempts == future.attempts == 3
    assert [lost.attempt for lost in caught.value.lost] == [1, 2, 3]
    assert {lost.name for lost in caught.value.lost} <= set(NAMES)
    assert [lost.attempt for lost in future.lost] == [1, 2]
    assert all(lost.name in NAMES for lost in future.lost)


def test_at_most_so_often(client: Client) -> None:
    for attempts in (1, 2):
        future = client.options(attempts_on_loss=attempts).submit(os._exit, 3)
        with pytest.raises(WorkerLost) as caught:
            future.result(PATIENCE_S)
        assert caught.value.attempts == attempts


def test_a_task_that_is_lost_once_runs_again(client: Client, tmp_path: Path) -> None:
    def run(path: str) -> str:
        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return "done"

    future = client.submit(run, str(tmp_path / "was-here"))
    assert future.result(PATIENCE_S) == "done"
    assert future.attempts == 2
    (lost,) = future.lost
    assert lost.attempt == 1
    assert lost.name in NAMES


# --- options


def test_times(client: Client, busy: list[Future[None]]) -> None:
    with pytest.raises(TaskTimeout, match="did not start") as caught:
        client.options(start_within=0.1).submit(pow, 2, 2).result(PATIENCE_S)
    assert not caught.value.started
    busy[0].cancel()
    with pytest.raises(TimeoutError, match="did not finish") as finished:
        client.worker("one").options(finish_within=0.3).submit(time.sleep, 600).result(PATIENCE_S)
    assert isinstance(finished.value, TaskTimeout)
    assert finished.value.started


def test_retries(client: Client, tmp_path: Path) -> None:
    def fails_twice(path: str) -> str:
        with open(path, "a") as file:
            file.write("x")
        if os.path.getsize(path) < 3:
            raise RuntimeError("not yet")
        return "done"

    again = client.options(retries=2)
    assert again.submit(fails_twice, str(tmp_path / "a")).result(PATIENCE_S) == "done"
    with pytest.raises(RuntimeError, match="not yet"):
        client.options(retries=1).submit(fails_twice, str(tmp_path / "b")).result(PATIENCE_S)


def test_the_most_urgent_goes_first(client: Client, busy: list[Future[None]]) -> None:
    there = client.worker("one")
    futures = [
        (priority, there.options(priority=priority).submit(time.monotonic))
        for priority in (0, 7) * 20
    ]
    # They have all arrived, and some few are with the worker in advance.
    assert client.is_alive("one")
    busy[0].cancel()
    started = sorted((future.result(PATIENCE_S), priority) for priority, future in futures)
    assert [priority for _, priority in started[-15:]] == [0] * 15


def test_labels(client: Client) -> None:
    pids = {name: client.worker(name).submit(os.getpid).result(PATIENCE_S) for name in NAMES}
    big = [client.label("big").submit(os.getpid) for _ in range(10)]
    assert {future.result(PATIENCE_S) for future in big} == {pids["two"]}
    assert {future.worker for future in big} == {"two"}
    gpu = {client.label("gpu").submit(os.getpid).result(PATIENCE_S) for _ in range(10)}
    assert gpu <= {pids["one"], pids["two"]}
    waiting = client.label("nobody has it").submit(os.getpid)
    with pytest.raises(TimeoutError):
        waiting.result(0.2)
    assert waiting.cancel()
    with pytest.raises(ValueError, match="too long"):
        client.label("x" * 64)


def test_refusals_say_why(client: Client) -> None:
    with pytest.raises(Refused, match="no worker of that name") as caught:
        client.worker("nobody").submit(pow, 2, 2).result(PATIENCE_S)
    assert caught.value.reason == 4
    with pytest.raises(Refused, match="no such worker"):
        client.worker(4000).submit(pow, 2, 2).result(PATIENCE_S)


# --- output


def test_output_comes_back(client: Client) -> None:
    def speak() -> None:
        print("grüße")
        print("oh", file=sys.stderr)

    future = client.submit(speak)
    future.result(PATIENCE_S)
    assert future.stdout == "grüße\n"
    assert future.stderr == "oh\n"
    assert future.output_dropped == 0


def test_output_is_seen_while_the_task_runs(client: Client, tmp_path: Path) -> None:
    def speak(gate: str) -> None:
        print("before", flush=True)
        while not os.path.exists(gate):
            time.sleep(0.01)
        print("after")

    heard: list[tuple[str, str]] = []
    listening = client.options(on_output=lambda stream, text: heard.append((stream, text)))
    future = listening.submit(speak, str(tmp_path / "gate"))
    end = time.monotonic() + PATIENCE_S
    while not heard and time.monotonic() < end:
        time.sleep(0.01)
    assert heard == [("stdout", "before\n")]
    assert not future.done()
    assert future.stdout == "before\n"
    late: list[str] = []
    future.on_output(lambda _, text: late.append(text))
    (tmp_path / "gate").touch()
    future.result(PATIENCE_S)
    while len(late) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert late == ["before\n", "after\n"]
    assert "".join(text for _, text in heard) == "before\nafter\n"


def test_output_without_end_is_cut_and_says_so(client: Client) -> None:
    def flood() -> int:
        for _ in range(200):
            print("x" * 50_000)
        return 1

    future = client.submit(flood)
    assert future.result(PATIENCE_S) == 1
    assert len(future.stdout) < 2 << 20
    assert "of this task's output were dropped]" in future.stdout


# --- commands


def test_commands(client: Client, tmp_path: Path) -> None:
    done = client.submit_command("echo $WORD; pwd; exit 3", cwd=tmp_path, env={"WORD": "hi"})
    result = done.result(PATIENCE_S)
    assert result.code == 3
    assert result.stdout.decode().split() == ["hi", str(tmp_path)]
    assert client.submit_command(["true"]).result(PATIENCE_S).code == 0


# --- what they are


def test_errors_are_what_people_catch() -> None:
    assert issubclass(taskyard.TaskTimeout, TimeoutError)
    assert issubclass(taskyard.TaskCancelled, concurrent.futures.CancelledError)
    assert issubclass(taskyard.ControllerLost, concurrent.futures.BrokenExecutor)
    assert issubclass(taskyard.NotSerializable, TypeError)
    for error in (taskyard.WorkerLost, taskyard.Refused, taskyard.TaskTimeout):
        assert issubclass(error, taskyard.TaskyardError)


def test_errors_can_be_pickled() -> None:
    import pickle

    for error in (
        WorkerLost([LostAttempt(1, 2, "x")], 1),
        Refused(8),
        TaskTimeout(started=True),
        taskyard.TaskCancelled(started=False),
        RemoteError("A", "b", "c"),
        taskyard.MulticastError({"a": ValueError("x")}, 2),
    ):
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
