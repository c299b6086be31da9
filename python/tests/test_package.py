"""What is installed: the wheel's files, the program that it brings, and the sources that it is
built from."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import taskyard
from taskyard import _process
from taskyard.cluster import Cluster

PROJECT = Path(__file__).parent.parent


def installed() -> importlib.metadata.Distribution:
    """The wheel, if this is not run from the folder of the sources."""
    try:
        found = importlib.metadata.distribution("taskyard")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("taskyard is not installed: pip install ./python")
    if not Path(str(found.locate_file("taskyard"))).samefile(Path(taskyard.__file__).parent):
        pytest.skip("another taskyard is imported than is installed")
    return found


def module_names() -> list[str]:
    walked = pkgutil.walk_packages(taskyard.__path__, "taskyard.")
    return [module.name for module in walked if not module.name.endswith("__main__")]


@pytest.mark.needs_install
def test_the_wheel_has_the_program_and_the_types_and_nothing_odd() -> None:
    files = [str(path) for path in installed().files or []]
    assert any(path.endswith("bin/taskyard") for path in files)
    assert "taskyard/py.typed" in files
    for path in files:
        assert not path.startswith(("tests/", "benchmarks/", "src/")), path


@pytest.mark.needs_install
def test_package_and_program_have_one_version() -> None:
    version = installed().version
    said = subprocess.check_output([_process.find_binary(), "--version"], text=True)
    assert said.split() == ["taskyard", version]


@pytest.mark.needs_install
def test_the_program_that_is_found_is_that_of_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    found = installed()
    monkeypatch.delenv("TASKYARD_BINARY", raising=False)
    own = [path for path in found.files or [] if str(path).endswith("bin/taskyard")]
    assert _process.find_binary().samefile(str(own[0].locate()))


@pytest.mark.needs_install
def test_nothing_but_the_wheel_is_needed(tmp_path: Path) -> None:
    installed()
    program = (
        "from taskyard import Client, Cluster\n"
        "with Cluster(workers=2) as cluster, Client(cluster) as client:\n"
        "    print(sum(client.map(abs, range(-10, 0))))\n"
    )
    # Without a path, a folder of sources or a variable that could help.
    said = subprocess.check_output(
        [sys.executable, "-I", "-c", program], cwd=tmp_path, env={}, text=True, timeout=100
    )
    assert said == "55\n"


def test_libzmq_is_built_with_what_the_workspace_wants() -> None:
    with Cluster(workers=1) as cluster:
        log = (cluster.folder / "controller.log").read_text()
    line = next(line for line in log.splitlines() if "libzmq 4" in line)
    assert "eventfd" in line
    assert "router-notify" in line


@pytest.mark.parametrize("name", module_names())
def test_a_module_says_what_it_is_and_has_what_it_exports(name: str) -> None:
    if name == "taskyard.joblib":
        pytest.importorskip("joblib")
    module = importlib.import_module(name)
    assert module.__doc__
    for exported in getattr(module, "__all__", ()):
        assert getattr(module, exported) is not None


def test_the_sources_are_whole(tmp_path: Path) -> None:
    if importlib.util.find_spec("maturin") is None or not (PROJECT / "../Cargo.toml").exists():
        pytest.skip("no maturin, or not in the workspace")
    command = [sys.executable, "-m", "maturin", "sdist", "--out", str(tmp_path)]
    built = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    if built.returncode != 0 and "cargo" in built.stderr and "not found" in built.stderr:
        pytest.skip("no cargo")
    assert built.returncode == 0, built.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames()}
    for needed in (
        "pyproject.toml",
        "Cargo.lock",
        "src/taskyard/client.py",
        "src/taskyard/py.typed",
    ):
        assert needed in names
    assert any(name.endswith("src/main.rs") for name in names)
    # Flags for libzmq travel in pyproject.toml, as .cargo/ does not.
    assert "ZMQ_HAVE_EVENTFD" in (PROJECT / "pyproject.toml").read_text()
