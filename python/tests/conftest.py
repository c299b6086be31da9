"""What the tests share: controllers, clusters and clients, all real, and a look for orphans.

No process outlives its test. The process that runs the tests adopts orphans, so that nothing which
a test left behind can hide as a child of ``init``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from taskyard import _process

if TYPE_CHECKING:
    from taskyard.client import Client
    from taskyard.cluster import Cluster

#: How long what was told to end may take: far more than it needs on a busy machine.
PATIENCE_S = 30.0


def pytest_configure() -> None:
    _process.adopt_orphans()


def pytest_report_header() -> str:
    try:
        return f"taskyard program: {_process.find_binary()}"
    except _process.BinaryNotFound as error:
        return f"taskyard program: {error}"


def _ours(pid: int) -> bool:
    """Whether a child is one that this package answers for."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    # The standard library and joblib keep one for the life of the interpreter.
    return b"resource_tracker" not in line


def _living_children() -> set[int]:
    children = _process.children_of(os.getpid())
    return {pid for pid in children if _process.is_running(pid) and _ours(pid)}


def _describe(pid: int) -> str:
    with contextlib.suppress(OSError):
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        return f"{pid}: {line.decode(errors='replace')}"
    return str(pid)


def left_behind(before: set[int], patience_s: float = PATIENCE_S) -> list[str]:
    """The children that were not there before and do not end; they are killed."""
    until = time.monotonic() + patience_s
    while (left := _living_children() - before) and time.monotonic() < until:
        time.sleep(0.02)
    said = [_describe(pid) for pid in sorted(left)]
    for pid in left:
        for descendant in _process.descendants_of(pid):
            _process.kill_quietly(descendant)
        _process.kill_quietly(pid)
    return said


@pytest.fixture(autouse=True)
def no_orphans() -> Iterator[None]:
    """Fails a test that leaves a process behind, its own or one of its children's."""
    before = _living_children()
    yield
    left = left_behind(before)
    if left:
        pytest.fail("processes were left behind:\n" + "\n".join(left))


class Controller:
    """A controller process of its own, which can be killed and started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options
        self.process: subprocess.Popen[str] | None = None

    @property
    def endpoints(self) -> dict[str, str]:
        """Where it listens, as it says itself."""
        return dict(self._said)

    def start(self) -> Controller:
        """Starts it, and waits until clients and workers may come."""
        command = [
            str(_process.find_binary()),
            "controller",
            *("--clients", f"ipc://{self.folder}/clients.sock"),
            *("--workers", f"ipc://{self.folder}/workers.sock"),
            *("--connection-dir", str(self.folder)),
            "--exit-with-stdin",
            *self.options,
        ]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.process = process
        self._said: list[tuple[str, str]] = []
        assert process.stdout is not None
        for line in process.stdout:
            key, _, value = line.strip().partition(" ")
            self._said.append((key, value.strip()))
            if key == "connection":
                return self
        raise RuntimeError(f"the controller ended with {process.wait()} before it was ready")

    def kill(self) -> None:
        """As a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As an operator would."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        with self.process as process:
            process.send_signal(number)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        self.process = None


@pytest.fixture
def controller_with(tmp_path: Path) -> Iterator[Callable[..., Controller]]:
    """Starts controllers with options."""
    started: list[Controller] = []

    def start(*options: str) -> Controller:
        folder = tmp_path / f"controller-{len(started)}"
        folder.mkdir()
        started.append(Controller(folder, *options))
        return started[-1].start()

    yield start
    for controller in started:
        controller.stop()


@pytest.fixture
def controller(controller_with: Callable[..., Controller]) -> Controller:
    """A controller with the options that it has by itself."""
    return controller_with()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two workers of a controller of their own, which the tests of a file share."""
    from taskyard.cluster import Cluster

    with Cluster(workers=2) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Client]:
    """A client of the shared cluster."""
    from taskyard.client import Client

    with Client(cluster) as client:
        yield client
