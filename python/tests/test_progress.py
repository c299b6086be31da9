"""What a person sees of a long ``map``: on a real terminal, and in a file."""

from __future__ import annotations

import concurrent.futures
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from taskyard import progress


def drain(descriptor: int) -> str:
    """All that is written to a terminal until its last writer is gone."""
    said = b""
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:
            # How Linux says it, for the far end of a terminal.
            return said.decode()
        if not chunk:
            return said.decode()
        said += chunk


def on_a_terminal(program: str, *, without_tqdm: bool, columns: int = 80) -> str:
    """What a program prints to its standard error when that is a terminal."""
    controller, terminal = pty.openpty()
    os.set_inheritable(terminal, True)
    hide = "import sys; sys.modules['tqdm'] = None\n" if without_tqdm else ""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen([sys.executable, "-c", hide + program], stderr=terminal) as child:
        os.close(terminal)
        said = drain(controller)
        os.close(controller)
        assert child.wait(60) == 0, said
    return said


COUNTS = """
import time
from taskyard.progress import Bar
with Bar(200, "seeds") as bar:
    for _ in range(200):
        bar.update()
        time.sleep(0.002)
"""


@pytest.mark.parametrize("without_tqdm", [True, False], ids=["own", "tqdm"])
def test_a_terminal_shows_a_line_that_ends_full(without_tqdm: bool) -> None:
    if not without_tqdm:
        pytest.importorskip("tqdm")
    said = on_a_terminal(COUNTS, without_tqdm=without_tqdm)
    last = said.rstrip().rsplit("\r", 1)[-1]
    assert "seeds" in last
    assert "100%" in last
    assert "200/200" in last
    # Drawn over and over on one line, and not for each of the 200.
    assert said.count("\n") == 1
    assert 2 <= said.count("\r") < 150


def test_a_narrow_terminal_is_not_overrun() -> None:
    said = on_a_terminal(COUNTS, without_tqdm=True, columns=30)
    for line in re.split(r"[\r\n]+", said):
        assert len(line.replace("\x1b[K", "")) < 30


def test_a_count_without_a_total_is_shown() -> None:
    program = "from taskyard.progress import Bar\nwith Bar() as bar: bar.update(7)"
    assert "7 [00:00, " in on_a_terminal(program, without_tqdm=True)


def test_a_file_gets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as log, progress.Bar(3, file=log) as bar:
        bar.update(3)
    assert path.read_text() == ""


def test_what_fails_counts_and_the_last_closes() -> None:
    def fail(n: int) -> int:
        return 1 // (n % 2)

    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        futures = [executor.submit(fail, n) for n in range(100)]
        bar = progress.track(futures, desc="halves", file=io.StringIO())
    assert (bar.done, bar.total) == (100, 100)


def test_a_last_chunk_that_is_smaller_does_not_count_too_much() -> None:
    futures: list[concurrent.futures.Future[None]] = [concurrent.futures.Future() for _ in range(4)]
    bar = progress.track(futures, total=10, per_future=3, file=io.StringIO())
    for future in futures:
        future.set_result(None)
    assert bar.done == 10


@pytest.mark.parametrize("chunksize", [1, 7])
def test_a_map_shows_how_far_it_is(chunksize: int) -> None:
    program = f"""
from taskyard import Client, Cluster
with Cluster(workers=2) as cluster, Client(cluster) as client:
    results = client.map(abs, range(100), chunksize={chunksize}, progress="numbers")
    assert list(results) == list(range(100))
"""
    said = on_a_terminal(program, without_tqdm=True)
    assert "numbers" in said
    assert "100/100" in said.rstrip().rsplit("\r", 1)[-1]


def test_a_map_that_fails_ends_its_line() -> None:
    program = """
from taskyard import Client, Cluster
with Cluster(workers=1) as cluster, Client(cluster) as client:
    try:
        list(client.map(lambda n: 1 // (3 - n), range(100), progress=True))
    except ZeroDivisionError:
        print("failed", file=__import__("sys").stderr)
"""
    assert on_a_terminal(program, without_tqdm=True).endswith("\nfailed\r\n")


def test_no_futures_is_a_bar_that_is_closed() -> None:
    assert progress.track([]).done == 0


def test_threads_count_together() -> None:
    bar = progress.Bar(40_000)

    def count() -> None:
        for _ in range(10_000):
            bar.update()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bar.done == 40_000


def test_a_closed_terminal_does_not_end_the_work() -> None:
    program = """
import os, sys, time
from taskyard.progress import Bar
bar = Bar(2)
os.close(2)
time.sleep(0.2)
bar.update()
bar.close()
os.open(os.devnull, os.O_WRONLY)
"""
    on_a_terminal(program, without_tqdm=True)
