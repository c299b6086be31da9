"""The words of the protocol: headers, kinds, flags, connection files and sockets.

What they mean stands in ``docs/PROTOCOL.md``. There is no state here; the client's and the worker's
conversation with the controller are elsewhere.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn

if TYPE_CHECKING:
    import zmq

VERSION: Final = 1
HEADER: Final = struct.Struct("<BBBBIIIQIBBH")
HEADER_BYTES: Final = HEADER.size

# Kinds, by who says them. From a client:
CLIENT_HELLO: Final = 0x01
SUBMIT: Final = 0x02
CANCEL: Final = 0x03
GOODBYE: Final = 0x04
IS_ALIVE: Final = 0x05
CONTROL: Final = 0x06
# To a client:
WELCOME: Final = 0x11
OUTCOME: Final = 0x12
NOTICE: Final = 0x13
ALIVE: Final = 0x14
CONTROLLED: Final = 0x15
# From a worker:
REGISTER: Final = 0x21
RESULT: Final = 0x22
HAND_IN: Final = 0x23
LEAVE: Final = 0x24
OUTPUT: Final = 0x25
STARTED: Final = 0x26
REVOKED: Final = 0x27
# To a worker:
REGISTERED: Final = 0x31
TASK: Final = 0x32
ABORT: Final = 0x33
DRAIN: Final = 0x34
REDIRECT: Final = 0x35
EVICT: Final = 0x36
REVOKE: Final = 0x37
# Both:
ACK: Final = 0x41
REJECTED: Final = 0x42
WHO_ARE_YOU: Final = 0x43
PING: Final = 0x44
PONG: Final = 0x45

# Flags. Some bits mean different things in different kinds.
NAMED: Final = 0x01
DEADLINES: Final = 0x02
RESENT: Final = 0x04
# In *Submit*: priority, retries and how long it is held.
OPTIONS: Final = 0x08
# In *Outcome*: one of several of a multicast.
PART: Final = 0x08
# In *Task*, *Result*, *HandIn* and *Started*: where the task came from.
ORIGIN: Final = 0x08
HAS_WORKER: Final = 0x10
BOOT: Final = 0x20
# In *Welcome*: the controller still knew this client.
RESUMED: Final = 0x40
# In *Register*: do not send me elsewhere.
NO_REDIRECT: Final = 0x40
# In *Task*: sent before a slot is free.
AHEAD: Final = 0x40
NO_PAYLOAD: Final = 0x80

# Topics: ``code`` of *Submit*.
TOPIC_ANY: Final = 0
TOPIC_WORKER: Final = 1
TOPIC_NAME: Final = 2
TOPIC_ALL: Final = 3
TOPIC_LABEL: Final = 4

# Outcomes: ``code`` of *Outcome*.
COMPLETED: Final = 0
FAILED: Final = 1
LOST: Final = 2
CANCELLED: Final = 3
TIMED_OUT: Final = 4
REFUSED: Final = 5
SUMMARY: Final = 6

FRAMES_MAX: Final = 64

DEADLINES_SECTION: Final = struct.Struct("<II")
OPTIONS_SECTION: Final = struct.Struct("<BBHI")

Role = Literal["client", "worker", "operator"]

_STATE_FOLDER = "taskyard"
_CONNECTION_BYTES_MAX = 64 << 10
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ROLES = ("client", "worker", "operator")
_MECHANISMS = ("curve", "plain", "null")


class Header(NamedTuple):
    """The first 32 bytes of a message.

    >>> header = Header.of(pack(PING, id=7))
    >>> assert header.kind == PING and header.id == 7 and header.version == 1
    """

    version: int
    kind: int
    flags: int
    frames: int
    seq: int
    ack: int
    worker: int
    id: int
    epoch: int
    attempt: int
    code: int
    extra: int

    @classmethod
    def of(cls, first: bytes | bytearray | memoryview) -> Header:
        """Reads the header of a message's first frame, which must have 32 bytes at least."""
        return cls._make(HEADER.unpack_from(first))


def pack(
    kind: int,
    *,
    flags: int = 0,
    frames: int = 0,
    seq: int = 0,
    ack: int = 0,
    worker: int = 0,
    id: int = 0,
    epoch: int = 0,
    attempt: int = 0,
    code: int = 0,
    extra: int = 0,
) -> bytes:
    """A header. What a kind does not mention is 0.

    >>> assert pack(ACK, ack=64)[:12].hex() == "014100000000000040000000"
    """
    return HEADER.pack(
        VERSION, kind, flags, frames, seq, ack, worker, id, epoch, attempt, code, extra
    )


def text_section(text: str) -> bytes:
    """One byte of length, then UTF-8: a name or a label.

    >>> assert text_section("gpu") == b"\\x03gpu"
    """
    encoded = text.encode()
    if not 1 <= len(encoded) <= 255:
        raise ValueError(f"{text!r} has {len(encoded)} bytes; a name has 1 to 255")
    return bytes([len(encoded)]) + encoded


def body_start(header: Header) -> int:
    """Where the body of a *Submit*-independent message starts: behind its sections.

    >>> assert body_start(Header.of(pack(WELCOME, flags=BOOT))) == 40
    """
    start = HEADER_BYTES
    flags = header.flags
    if flags & DEADLINES:
        start += 8
    if flags & BOOT:
        start += 8
    if flags & ORIGIN and header.kind in (TASK, RESULT, HAND_IN, STARTED):
        start += 24
    return start


def read_name(header: Header, first: bytes) -> tuple[str, int]:
    """The name section of a message, and where the rest begins; the name is empty if there is
    none, or if it is cut off.

    >>> message = pack(ALIVE, flags=NAMED) + text_section("gpu")
    >>> assert read_name(Header.of(message), message) == ("gpu", 36)
    """
    if not header.flags & NAMED or len(first) <= HEADER_BYTES:
        return "", HEADER_BYTES
    end = HEADER_BYTES + 1 + first[HEADER_BYTES]
    return first[HEADER_BYTES + 1 : end].decode(errors="replace"), end


class ConnectionFileError(ValueError):
    """There is no connection file, or it cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Connection:
    """What a connection file says: where a controller is, and what it is shown.

    >>> connection = Connection("tcp://127.0.0.1:7600", "client", "null")
    >>> assert connection.key == "" and connection.path is None
    """

    endpoint: str
    role: Role
    mechanism: Literal["curve", "plain", "null"]
    key: str = field(default="", repr=False)
    public_key: str = ""
    server_key: str = ""
    # Where it was read, and can be read again after the controller was started anew.
    path: Path | None = None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Connection:
        """Reads a connection file.

        Raises :class:`ConnectionFileError` if it is not there, is no such file, or others may read
        or change it.
        """
        import json

        path = Path(path)
        try:
            found = json.loads(_read_private(path))
        except ValueError as error:
            if isinstance(error, ConnectionFileError):
                raise
            _refuse(path, "it is no connection file (no JSON); copy it from the controller's host")
        if not isinstance(found, dict):
            _refuse(path, "it is no connection file; copy it from the controller's host")
        if found.get("taskyard") != 1:
            _refuse(path, "it is of another version; take this package and controller together")
        return cls(path=path.absolute(), **_fields(path, found))


def _fields(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """What of a connection file's fields we know, checked."""
    mechanism = found.get("mechanism")
    needed = ["endpoint", "role", "mechanism"]
    if mechanism in ("curve", "plain"):
        needed.append("key")
    if mechanism == "curve":
        needed += ["public_key", "server_key"]
    fields = {name: found.get(name) for name in needed}
    for name, value in fields.items():
        if not isinstance(value, str) or not value:
            _refuse(path, f"it has no {name}; copy it from the controller's host again")
    if fields["role"] not in _ROLES or mechanism not in _MECHANISMS:
        _refuse(path, "its role or mechanism is unknown; take this package and controller together")
    return fields


def _refuse(path: Path, reason: str) -> NoReturn:
    raise ConnectionFileError(f"{path}: {reason}")


def _read_private(path: Path) -> bytes:
    """The bytes of a file that nobody else can read or put in its place."""
    try:
        # A pipe in its place must not hold us up.
        descriptor = os.open(
            path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        )
    except FileNotFoundError:
        _refuse(path, "there is none: start the controller first, or copy it from its host")
    except OSError as error:
        if path.is_symlink():
            _refuse(path, "it is a symbolic link: name the file itself")
        _refuse(path, f"it cannot be opened: {error.strerror}")
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            _refuse(path, "it is no regular file")
        if found.st_uid not in (os.geteuid(), 0):
            _refuse(path, "it belongs to somebody else")
        if found.st_mode & _OTHERS:
            mode = stat.S_IMODE(found.st_mode)
            _refuse(path, f"others may read or change it (mode {mode:04o}): chmod 600")
        content = file.read(_CONNECTION_BYTES_MAX + 1)
    if len(content) > _CONNECTION_BYTES_MAX:
        _refuse(path, "it is too long for a connection file")
    return content


def file_name(role: Role) -> str:
    """What the connection file of a role is called.

    >>> assert file_name("worker") == "taskyard-worker.json"
    """
    return f"taskyard-{role}.json"


def state_folder() -> Path:
    """Where a controller of this user writes its connection files unless it is told otherwise."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / _STATE_FOLDER if runtime else Path("." + _STATE_FOLDER)


def find_connection(role: Role, explicit: str | os.PathLike[str] | None = None) -> Connection:
    """The connection file to use: the one that is named, else that of ``TASKYARD_CONNECT``, else
    the newest in the state folder. A folder stands for the file of ``role`` in it.

    Raises :class:`ConnectionFileError` if there is none, or it cannot be used.
    """
    named = explicit or os.environ.get("TASKYARD_CONNECT")
    if named:
        path = Path(named)
        return Connection.load(path / file_name(role) if path.is_dir() else path)
    folder = state_folder()
    newest = max(_candidates(folder, role), default=None)
    if newest is None:
        raise ConnectionFileError(
            f"no controller found: there is no {file_name(role)} in {folder.absolute()}; start "
            "one with `taskyard controller`, or name a connection file or set TASKYARD_CONNECT"
        )
    return Connection.load(newest[1])


def _candidates(folder: Path, role: Role) -> Iterator[tuple[float, Path]]:
    """The files of a role in the state folder or in a folder of it, with their age."""
    name = file_name(role)
    for path in (folder / name, *folder.glob(f"*/{name}")):
        try:
            yield path.stat().st_mtime, path
        except OSError:
            continue


def open_socket(
    context: zmq.Context[zmq.Socket[bytes]], connection: Connection, *, send_max: int = 1000
) -> zmq.Socket[bytes]:
    """A socket that is connected as the protocol demands (``docs/PROTOCOL.md``, section 1): each
    new connection begins with an empty message, and none outlives its end. It takes ``send_max``
    messages that the connection has not taken yet, without a limit if that is 0.
    """
    import zmq

    socket = context.socket(zmq.DEALER)
    try:
        # What comes in is bounded by the protocol, and never read late.
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.SNDHWM, send_max)
        socket.setsockopt(zmq.PROBE_ROUTER, 1)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        introduce(socket, connection)
        socket.connect(connection.endpoint)
    except BaseException:
        socket.close(0)
        raise
    return socket


def introduce(socket: zmq.Socket[bytes], connection: Connection) -> None:
    """Sets what the socket shows to the controller."""
    if connection.mechanism == "plain":
        socket.plain_username = connection.role.encode()
        socket.plain_password = connection.key.encode()
    elif connection.mechanism == "curve":
        socket.curve_secretkey = connection.key.encode()
        socket.curve_publickey = connection.public_key.encode()
        socket.curve_serverkey = connection.server_key.encode()
