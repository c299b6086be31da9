"""The examples: every block of Python in the documents, and those in the docstrings."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from test_package import module_names

from taskyard.client import Client

if TYPE_CHECKING:
    from conftest import Controller

PROJECT = Path(__file__).parent.parent
#: Documents whose blocks are not run here, and why.
ELSEWHERE = {"PROTOCOL.md": "two programs for each other, run by the Rust tests"}
WAIT_S = 100.0


class Block(NamedTuple):
    """A block of Python in a document."""

    document: str
    line: int
    text: str


def blocks_of(document: str, text: str) -> Iterator[Block]:
    """The fenced blocks of Python, each a program of its own."""
    for match in re.finditer(r"^```python *\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield Block(document, text[: match.start()].count("\n") + 2, match[1])


def all_blocks() -> list[Block]:
    paths = [PROJECT / "README.md", PROJECT.parent / "README.md"]
    paths += sorted(PROJECT.parent.glob("docs/*.md"))
    return [
        block
        for path in paths
        if path.exists() and path.name not in ELSEWHERE
        for block in blocks_of(str(path.relative_to(PROJECT.parent)), path.read_text())
    ]


def run(block: Block, folder: Path, environment: dict[str, str]) -> str:
    """Runs a block as a script; gives what it prints."""
    script = folder / "example.py"
    # Blank lines in front: a traceback names the line of the document.
    script.write_text("\n" * (block.line - 1) + block.text)
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, f"{block.document}:{block.line}\n{done.stdout}{done.stderr}"
    return done.stdout


def await_worker(client: Client, name: str) -> None:
    until = time.monotonic() + WAIT_S
    while not client.is_alive(name):
        assert time.monotonic() < until, f"{name} did not come"
        time.sleep(0.02)


@pytest.mark.parametrize("block", all_blocks(), ids=lambda block: f"{block.document}:{block.line}")
def test_a_block_of_a_document_runs(
    block: Block, tmp_path: Path, controller_with: Callable[..., Controller]
) -> None:
    for package in ("joblib", "sklearn", "numpy", "tqdm"):
        if re.search(rf"^\s*(import|from) {package}\b", block.text, re.MULTILINE):
            pytest.importorskip(package)
    if re.search(r"^\s*with .*Cluster\(", block.text, re.MULTILINE) or "Client" not in block.text:
        run(block, tmp_path, {})
        return
    # It speaks of a controller elsewhere: here is one, with a worker.
    controller = controller_with()
    command = [sys.executable, "-m", "taskyard.worker", "--name", "gpu-3", "--label", "gpu"]
    with subprocess.Popen([*command, "--connect", str(controller.folder)]) as worker:
        try:
            with Client(controller.folder) as client:
                await_worker(client, "gpu-3")
            run(block, tmp_path, {"TASKYARD_CONNECT": str(controller.folder)})
        finally:
            worker.terminate()


def test_the_readme_has_examples() -> None:
    assert len([block for block in all_blocks() if block.document == "python/README.md"]) >= 5


def test_a_block_that_is_wrong_is_found(tmp_path: Path) -> None:
    text = "words\n\n```python\nassert 1 == 2\n```\n```sh\nfalse\n```\n"
    (block,) = blocks_of("README.md", text)
    assert block.line == 4
    with pytest.raises(AssertionError, match="line 4"):
        run(block, tmp_path, {})


def has_examples(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None and ">>>" in Path(spec.origin).read_text()


@pytest.mark.parametrize("name", [name for name in module_names() if has_examples(name)])
def test_the_examples_of_a_module_hold(name: str) -> None:
    if name == "taskyard.joblib":
        pytest.importorskip("joblib")
    module = importlib.import_module(name)
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


def test_an_example_that_is_wrong_is_found() -> None:
    module = type(ast)("wrong", ">>> 1 + 1\n3\n")
    assert doctest.testmod(module, report=False).failed == 1
