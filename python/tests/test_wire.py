"""Headers against the protocol's own dumps, and connection files that must not be read."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from taskyard import _wire as wire
from taskyard._wire import Connection, ConnectionFileError, Header, find_connection

PROTOCOL = Path(__file__).parents[2] / "docs" / "PROTOCOL.md"
FIELDS = ("flags", "seq", "ack", "worker", "id", "epoch", "attempt", "code", "extra")


def dumps() -> list[tuple[str, bytes, dict[str, int]]]:
    """The messages in the protocol's description, and what it says of them."""
    found = []
    for block in re.findall(r"```hex\n(.*?)```", PROTOCOL.read_text(), re.S):
        lines = [line.partition(";") for line in block.splitlines()]
        data = bytes.fromhex("".join(left for left, _, _ in lines))
        said = " ".join(right for _, _, right in lines)
        kind = re.search(r"kind (\w+)", said)
        assert kind is not None
        values = {}
        for field in FIELDS:
            number = re.search(rf"\b{field} (0x[0-9a-f]+|\d+)", said)
            if number:
                values[field] = int(number[1], 0)
        found.append((kind[1], data, values))
    return found


def constant(kind: str) -> int:
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", kind).upper()
    value: int = getattr(wire, name)
    return value


@pytest.mark.parametrize(("kind", "data", "values"), dumps())
def test_headers_are_those_of_the_protocol(kind: str, data: bytes, values: dict[str, int]) -> None:
    header = Header.of(data)
    assert header.kind == constant(kind)
    assert {field: getattr(header, field) for field in values} == values
    fields = {field: getattr(header, field) for field in (*FIELDS, "frames")}
    assert wire.pack(header.kind, **fields) == data[: wire.HEADER_BYTES]


def test_the_dumps_are_all_of_them() -> None:
    assert len(dumps()) > 20


# --- connection files


def write(path: Path, mode: int = 0o600, **changes: Any) -> Path:
    said = {
        "taskyard": 1,
        "role": "client",
        "endpoint": "tcp://127.0.0.1:7600",
        "mechanism": "plain",
        "key": "k" * 40,
    }
    said.update(changes)
    path.write_text(json.dumps({name: value for name, value in said.items() if value is not None}))
    path.chmod(mode)
    return path


def test_a_connection_file(tmp_path: Path) -> None:
    path = write(tmp_path / "c.json", more="ignored")
    connection = Connection.load(path)
    assert connection.endpoint == "tcp://127.0.0.1:7600"
    assert connection.key not in repr(connection)
    assert connection.path == path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": 0o640}, "chmod 600"),
        ({"taskyard": 2}, "another version"),
        ({"key": None}, "no key"),
        ({"endpoint": 3}, "no endpoint"),
        ({"mechanism": "curve"}, "no public_key"),
        ({"role": "boss"}, "role or mechanism"),
        ({"mechanism": "gssapi"}, "role or mechanism"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConnectionFileError, match=said):
        Connection.load(write(tmp_path / "c.json", **changes))


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    with pytest.raises(ConnectionFileError, match="there is none"):
        Connection.load(path)
    write(path)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    with pytest.raises(ConnectionFileError, match="symbolic link"):
        Connection.load(link)
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(ConnectionFileError, match="no regular file"):
        Connection.load(pipe)
    for text in (b"", b"[]", b"{", b"\xff", b" " * 70_000):
        path.write_bytes(text)
        with pytest.raises(ConnectionFileError):
            Connection.load(path)


def test_where_a_connection_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, told, state = (tmp_path / name for name in ("named", "told", "run"))
    monkeypatch.delenv("TASKYARD_CONNECT", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(state))
    with pytest.raises(ConnectionFileError, match="no controller found"):
        find_connection("client")
    for number, folder in enumerate([state / "taskyard" / "old", state / "taskyard"]):
        folder.mkdir(parents=True, exist_ok=True)
        path = write(folder / "taskyard-client.json", endpoint=f"tcp://state:{number}")
        os.utime(path, (number, number))
    assert find_connection("client").endpoint == "tcp://state:1"
    os.utime(state / "taskyard" / "old" / "taskyard-client.json", (9, 9))
    assert find_connection("client").endpoint == "tcp://state:0"
    told.mkdir()
    write(told / "taskyard-client.json", endpoint="tcp://told:1")
    monkeypatch.setenv("TASKYARD_CONNECT", str(told))
    assert find_connection("client").endpoint == "tcp://told:1"
    write(named, endpoint="tcp://named:1")
    assert find_connection("client", named).endpoint == "tcp://named:1"


def test_without_a_runtime_folder_it_is_beside_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("TASKYARD_CONNECT", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".taskyard").mkdir()
    write(tmp_path / ".taskyard" / "taskyard-worker.json", role="worker")
    assert find_connection("worker").role == "worker"
