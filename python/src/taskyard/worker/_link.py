"""A worker's socket: connecting, following a redirect, and going home when nobody is there."""

from __future__ import annotations

import dataclasses
import os
import socket
import stat
import time
from collections.abc import Sequence
from typing import Any

import zmq

from taskyard import _wire as wire

# So long nobody may answer where a worker was sent on to before it goes home.
_ALONE_MAX_S = 3.0
_LINGER_MS = 1000
# Frames from this size on are sent from where they are; smaller ones are copied, which is cheaper.
_COPY_BYTES_MAX = 64 * 1024


class Link:
    """The connection to the controller. Not safe for threads: whoever calls holds its lock."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], connection: wire.Connection
    ) -> None:
        self._context = context
        self._home = connection
        self._present = connection
        self._alone_since: float | None = None
        self.socket = wire.open_socket(context, connection)
        self._peers = _addresses(connection.endpoint)

    @property
    def is_away(self) -> bool:
        """Whether it was sent on to somewhere else."""
        return self._present is not self._home

    @property
    def descriptor(self) -> int:
        """Becomes readable when there may be something to receive; only edges count, so sleep on it
        only after a receive that found nothing."""
        return int(self.socket.getsockopt(zmq.FD))

    def receive(self) -> tuple[bytes, Sequence[Any]] | None:
        """The next message, if there is one now. Large frames are not copied."""
        try:
            first = self.socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return None
        # The header says how many frames follow: mostly none, and then nothing is asked.
        if len(first) > 3 and first[3]:
            frames = self.socket.recv_multipart(copy=False)
            return first, [frame.buffer for frame in frames]
        if not first:
            while self.socket.getsockopt(zmq.RCVMORE):
                self.socket.recv()
        return first, ()

    def send(self, first: bytes, frames: Sequence[Any]) -> bool:
        """False: there is no connection, or it takes nothing now."""
        try:
            if not frames:
                self.socket.send(first, zmq.NOBLOCK)
                return True
            self.socket.send(first, zmq.NOBLOCK | zmq.SNDMORE)
            last = len(frames) - 1
            for index, frame in enumerate(frames):
                size = frame.nbytes if isinstance(frame, memoryview) else len(frame)
                # A message goes whole: after its first frame the others never wait.
                more = zmq.SNDMORE if index < last else 0
                self.socket.send(frame, more, copy=size < _COPY_BYTES_MAX)
        except zmq.Again:
            return False
        return True

    def is_connected(self) -> bool:
        """Whether there is a connection now: without one, the socket takes nothing."""
        return bool(int(self.socket.getsockopt(zmq.EVENTS)) & zmq.POLLOUT)

    def follow(self, endpoint: str) -> None:
        """Connects to where it was sent."""
        seen = _seen_from(endpoint, self._present.endpoint)
        self._connect(dataclasses.replace(self._home, endpoint=seen))

    def is_forsaken(self) -> bool:
        """Whether nobody has been there for some seconds where it was sent."""
        if not self.is_away or self.is_connected():
            self._alone_since = None
            return False
        now = time.monotonic()
        if self._alone_since is None:
            self._alone_since = now
        return now - self._alone_since >= _ALONE_MAX_S

    def go_home(self) -> None:
        """Connects to where it first was."""
        self._connect(self._home)

    def _connect(self, connection: wire.Connection) -> None:
        self.socket.close(linger=0)
        self.socket = wire.open_socket(self._context, connection)
        self._present = connection
        self._peers = _addresses(connection.endpoint)
        self._alone_since = None

    def close(self) -> None:
        """Sends what waits, for a moment, and ends."""
        self.socket.close(linger=_LINGER_MS)

    def disown(self) -> None:
        """In a process that a task has forked: lets go of the connection, which it has inherited
        and would keep open when this worker is dead. The descriptors' numbers stay taken."""
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for name in os.listdir("/proc/self/fd"):
            descriptor = int(name)
            if descriptor != nothing and _peer_of(descriptor) in self._peers:
                os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)


def _addresses(endpoint: str) -> set[Any]:
    """What ``getpeername`` may say of a connection to an endpoint."""
    scheme, _, rest = endpoint.partition("://")
    if scheme == "ipc":
        return {rest, rest.encode()}
    host, _, port = rest.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return set()
    return {info[4][:2] for info in found}


def _peer_of(descriptor: int) -> Any:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        with socket.socket(fileno=os.dup(descriptor)) as peer:
            name = peer.getpeername()
    except OSError:
        return None
    return name[:2] if isinstance(name, tuple) else name


def _seen_from(endpoint: str, known: str) -> str:
    """A host that means any means the one at which the controller is known already."""
    for anywhere in ("tcp://0.0.0.0:", "tcp://[::]:", "tcp://*:"):
        if endpoint.startswith(anywhere) and known.startswith("tcp://"):
            host = known[len("tcp://") :].rpartition(":")[0]
            return f"tcp://{host}:{endpoint[len(anywhere) :]}"
    return endpoint
