"""A controller and workers of one's own, on this machine, for as long as a program runs.

All of it ends with the program, whatever becomes of that: controller and workers hold a pipe from
it, and end when it breaks. A process of its own, the workers' nanny, sees to that no task leaves
anything behind.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Literal

from taskyard import _process
from taskyard import _wire as wire
from taskyard.worker import _options

_START_TIMEOUT_S = 30.0
# What is left of the log of a controller that did not start, in the message that says so.
_LOG_LINES = 5
# How long they may take to end when they are asked to, before they are killed.
_END_TIMEOUT_S = 5.0
# The longest path that a Unix socket may have, without the 0 at its end.
_SOCKET_PATH_BYTES_MAX = 107
_POLL_S = 0.005

# A row of the controller's list of workers: place, epoch, slots, ..., state.
_ROW = struct.Struct("<IIHHIIIIBxxx")
_LIST_WORKERS = 9
_STATES_PRESENT = (0, 1)


class ClusterError(RuntimeError):
    """The cluster could not be started; the message says why."""


class Cluster:
    """A controller and workers on this machine, until the end of the ``with``.

    >>> from taskyard import Client
    >>> with Cluster(workers=2) as cluster, Client(cluster) as client:
    ...     assert client.submit(pow, 2, 10).result() == 1024

    ``labels`` are those of all workers, or for each name its own. ``python`` is the interpreter
    that runs them, this one by default. With ``transport="ipc"`` nobody but this user can reach
    the controller, over the loopback interface (``"tcp"``) nobody without its keys.

    Raises :class:`ClusterError` if it does not start, and ``BinaryNotFound`` without the program.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        slots: int = 1,
        names: Sequence[str] | None = None,
        labels: Sequence[str] | Mapping[str, Sequence[str]] = (),
        python: str | os.PathLike[str] | None = None,
        transport: Literal["ipc", "tcp"] = "ipc",
        payload_max_bytes: int = 1 << 30,
        prefetch: int | None = None,
        abort_grace_s: float | None = None,
        controller_options: Sequence[str] = (),
        start_timeout_s: float = _START_TIMEOUT_S,
    ) -> None:
        if names is None:
            count = workers if workers is not None else len(os.sched_getaffinity(0))
            names = [f"worker-{number}" for number in range(count)]
        elif workers is not None and workers != len(names):
            raise ValueError(f"{workers} workers, and {len(names)} names for them")
        if len(set(names)) != len(names):
            raise ValueError("each worker has a name of its own")
        if transport not in ("ipc", "tcp"):
            raise ValueError(f"transport is 'ipc' or 'tcp', not {transport!r}")
        self._labels = labels
        self._numbers = itertools.count(len(names))
        for name in names:
            self._labels_of(_options.check_name(name))
        binary = _process.find_binary()
        self._folder = _make_folder()
        self._parts = _Parts(self._folder)
        self._finalizer = weakref.finalize(self, _Parts.end, self._parts)
        _open_parts.add(self._parts)
        try:
            self._start(binary, transport, payload_max_bytes, controller_options)
            self._start_nanny(python, slots, prefetch, abort_grace_s)
            self._wait_for_controller(start_timeout_s)
            for name in names:
                self.add_worker(name)
            self.wait_for_workers(len(names), start_timeout_s)
        except BaseException:
            self.close()
            raise

    # --- what there is

    @property
    def folder(self) -> Path:
        """Its private folder: connection files, sockets and the controller's log."""
        return self._folder

    @property
    def client_connection(self) -> Path:
        """The connection file for clients."""
        return self._folder / wire.file_name("client")

    @property
    def operator_connection(self) -> Path:
        """The connection file for operators, who may look at everything and cancel it."""
        return self._folder / wire.file_name("operator")

    @property
    def worker_connection(self) -> Path:
        """The connection file for workers: more of them may come from elsewhere."""
        return self._folder / wire.file_name("worker")

    @property
    def workers(self) -> dict[str, int]:
        """The names of its own workers, and their processes' ids now; 0: it is being replaced."""
        try:
            rows = json.loads((self._folder / _STATUS).read_text(encoding="utf-8"))
        except OSError:
            return {}
        return {str(name): int(pid) for name, pid in rows.items()}

    @property
    def names(self) -> list[str]:
        """The names of its own workers."""
        return list(self.workers)

    @property
    def pids(self) -> list[int]:
        """The processes that it has started itself: the controller's, and that of the workers'
        keeper, whose descendants the workers are."""
        return [part.pid for part in (self._parts.controller, self._parts.nanny) if part]

    # --- more and fewer

    def add_worker(self, name: str | None = None, *, labels: Sequence[str] | None = None) -> str:
        """Starts a worker more; gives its name. It is there a moment later:
        :meth:`wait_for_workers`."""
        if name is None:
            known = set(self.workers)
            name = next(n for i in self._numbers if (n := f"worker-{i}") not in known)
        own = self._labels_of(name) if labels is None else tuple(labels)
        _check_labels(own)
        self._order({"add": _options.check_name(name), "labels": own})
        return name

    def drain_worker(self, name: str) -> None:
        """Lets a worker finish what it runs, and leave."""
        self._order({"drain": name})

    def scale(self, workers: int) -> None:
        """Starts workers, or lets the last ones leave, until there are so many of its own."""
        present = self.names
        for name in present[workers:]:
            self.drain_worker(name)
        for _ in range(workers - len(present)):
            self.add_worker()

    def wait_for_workers(self, count: int, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Waits until so many workers are there, wherever they come from.

        Raises ``TimeoutError``, or :class:`ClusterError` if the cluster has ended.
        """
        until = time.monotonic() + timeout_s
        seen = 0
        with contextlib.closing(_ask_for_workers(self.operator_connection, until)) as counts:
            for present in counts:
                if present >= count:
                    return
                seen = max(seen, present)
                self._check()
        raise TimeoutError(f"{seen} of {count} workers were there after {timeout_s:g} s")

    # --- start and end

    def close(self) -> None:
        """Ends workers and controller, and what they run. What clients still wait for is lost."""
        self._finalizer()
        _open_parts.discard(self._parts)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"{len(self.workers)} workers" if self._finalizer.alive else "closed"
        return f"<Cluster {self._folder} {state}>"

    def _labels_of(self, name: str) -> tuple[str, ...]:
        labels = self._labels
        own = tuple(labels.get(name, ()) if isinstance(labels, Mapping) else labels)
        _check_labels(own)
        return own

    def _start(
        self, binary: Path, transport: str, payload_max_bytes: int, options: Sequence[str]
    ) -> None:
        folder = self._folder
        clients, workers = "tcp://127.0.0.1:*", "tcp://127.0.0.1:*"
        if transport == "ipc":
            clients, workers = f"ipc://{folder}/clients.sock", f"ipc://{folder}/workers.sock"
        command = [
            str(binary), "controller", "--clients", clients, "--workers", workers,
            "--connection-dir", str(folder), "--payload-max-bytes", str(payload_max_bytes),
            "--exit-with-stdin", *options,
        ]  # fmt: skip
        with (folder / _LOG).open("wb") as log:
            self._parts.controller = _spawn(command, log, log, None)

    def _start_nanny(
        self,
        python: str | os.PathLike[str] | None,
        slots: int,
        prefetch: int | None,
        abort_grace_s: float | None,
    ) -> None:
        command = [
            str(python or sys.executable), "-m", "taskyard.worker", "--controlled",
            "--connect", str(self._folder), "--slots", str(slots),
            "--status", str(self._folder / _STATUS),
        ]  # fmt: skip
        if prefetch is not None:
            command += ["--prefetch", str(prefetch)]
        if abort_grace_s is not None:
            command += ["--abort-grace-s", str(abort_grace_s)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(_own_path())}
        self._parts.nanny = _spawn(command, subprocess.DEVNULL, None, environment)

    def _wait_for_controller(self, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        files = (self.client_connection, self.operator_connection, self.worker_connection)
        while not all(file.exists() for file in files):
            self._check()
            if time.monotonic() >= until:
                raise ClusterError(f"the controller took more than {timeout_s:g} s to start")
            time.sleep(_POLL_S)

    def _check(self) -> None:
        """Raises if one of the two has ended."""
        for part, what in ((self._parts.controller, "controller"), (self._parts.nanny, "workers")):
            if part is None:
                raise ClusterError("the cluster is closed")
            code = part.poll()
            if code is not None:
                tail = ""
                if what == "controller":
                    tail = ": " + _tail(self._folder / _LOG)
                raise ClusterError(f"the cluster's {what} ended with {code}{tail}")

    def _order(self, order: dict[str, object]) -> None:
        nanny = self._parts.nanny
        if nanny is None or nanny.stdin is None:
            raise ClusterError("the cluster is closed")
        try:
            nanny.stdin.write(json.dumps(order).encode() + b"\n")
        except OSError:
            self._check()
            raise


_STATUS = "workers.json"
_LOG = "controller.log"


class _Parts:
    """The processes of a cluster, apart from it: so that they can be ended when it is forgotten."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.owner = os.getpid()
        self.controller: subprocess.Popen[bytes] | None = None
        self.nanny: subprocess.Popen[bytes] | None = None

    def end(self) -> None:
        """Workers first: so that the controller need not tell anybody that they are lost."""
        if self.owner != os.getpid():
            # A fork of the program that owns it.
            return
        for part in (self.nanny, self.controller):
            if part is not None:
                _end(part)
        self.nanny = self.controller = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def disown(self) -> None:
        """In a fork of the program: it must not hold the pipes at whose end they end."""
        for part in (self.nanny, self.controller):
            if part is not None and part.stdin is not None:
                # Without a buffer, and so without a lock that another thread might have held.
                part.stdin.close()


_open_parts: weakref.WeakSet[_Parts] = weakref.WeakSet()


def _disown_all() -> None:
    for parts in list(_open_parts):
        parts.disown()


os.register_at_fork(after_in_child=_disown_all)


def _end(part: subprocess.Popen[bytes]) -> None:
    if part.stdin is not None:
        with contextlib.suppress(OSError):
            part.stdin.close()
    try:
        part.wait(_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        part.kill()
        part.wait()


def _spawn(
    command: Sequence[str],
    stdout: int | IO[bytes],
    stderr: int | IO[bytes] | None,
    environment: dict[str, str] | None,
) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C of the terminal is for the program, which then ends them."""
    try:
        return subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise ClusterError(f"{command[0]} cannot be started: {error.strerror}") from error


def _make_folder() -> Path:
    """A new folder of mode 0700 whose path is short enough for sockets."""
    longest = len(b"/taskyard-12345678/workers.sock")
    for parent in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        if (
            parent
            and os.access(parent, os.W_OK | os.X_OK)
            and len(os.fsencode(parent)) + longest <= _SOCKET_PATH_BYTES_MAX
        ):
            return Path(tempfile.mkdtemp(prefix="taskyard-", dir=parent))
    raise ClusterError(
        "there is no folder for the controller's sockets: set TMPDIR to a short path"
    )


def _own_path() -> Iterator[str]:
    """Where this program finds its modules, so that the workers find them too; without what every
    Python has of itself."""
    paths = sysconfig.get_paths()
    own = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    package = str(Path(__file__).resolve().parent.parent)
    seen = set()
    for entry in [*sys.path, package]:
        place = str(Path(entry).absolute())
        is_own = place in own or place.endswith((".zip", "lib-dynload"))
        if not is_own and place not in seen:
            seen.add(place)
            yield place


def _check_labels(labels: Sequence[str]) -> None:
    if len(labels) > _options.LABELS_MAX:
        raise ValueError(f"at most {_options.LABELS_MAX} labels for a worker")
    for label in labels:
        _options.check_label(label)


def _tail(log: Path) -> str:
    """The end of a log, on one line."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "it has no log"
    told = [line.strip() for line in lines if line.strip()][-_LOG_LINES:]
    return " / ".join(told) or "its log is empty"


def _ask_for_workers(file: Path, until: float) -> Generator[int, None, None]:
    """How many workers are there, again and again until then."""
    import zmq

    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = wire.open_socket(context, wire.Connection.load(file))
    session = count = 0
    cursor: int | None = None
    try:
        while time.monotonic() < until:
            if cursor is not None:
                body = struct.pack("<QQII", 0, 0, 0, cursor)
                socket.send(wire.pack(wire.CONTROL, code=_LIST_WORKERS) + body)
                cursor = None
            if not socket.poll(int(_POLL_S * 1000)):
                yield 0
                continue
            first, *_ = socket.recv_multipart()
            if len(first) < wire.HEADER_BYTES:
                continue
            header = wire.Header.of(first)
            if header.kind == wire.WHO_ARE_YOU:
                session += 1
                socket.send(wire.pack(wire.CLIENT_HELLO, seq=session) + secrets.token_bytes(16))
            elif header.kind == wire.WELCOME:
                count = cursor = 0
            elif header.kind == wire.CONTROLLED:
                count += _count_present(header, first)
                cursor = header.seq
                if cursor == 0:
                    yield count
                    count = 0
                    time.sleep(_POLL_S)
    finally:
        with contextlib.suppress(zmq.ZMQError):
            socket.send(wire.pack(wire.GOODBYE), zmq.NOBLOCK)
        socket.close(linger=200)
        context.term()


def _count_present(header: wire.Header, first: bytes) -> int:
    starts = range(wire.HEADER_BYTES, wire.HEADER_BYTES + header.epoch * _ROW.size, _ROW.size)
    return sum(_ROW.unpack_from(first, start)[-1] in _STATES_PRESENT for start in starts)
