"""The floor: the barest broker in pyzmq, which gives each message to the worker that waits longest.

No function, no pickle, no session, no acknowledgement, nothing is ever lost: it shows what three
processes, six sockets and the kernel cost by themselves.

    client (DEALER) ── broker (ROUTER, ROUTER) ── workers (DEALER)
"""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import tempfile
from collections.abc import Iterator
from typing import Any

import zmq


def _worker(endpoint: str) -> None:
    socket = zmq.Context().socket(zmq.DEALER)
    socket.connect(endpoint)
    socket.send(b"")
    while True:
        frames = socket.recv_multipart(copy=False)
        socket.send_multipart(frames, copy=False)


def _broker(clients: str, workers: str, bound: Any) -> None:
    context = zmq.Context()
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.ROUTER)
    for socket in (front, back):
        socket.set_hwm(0)
    front.bind(clients)
    back.bind(workers)
    bound.send([socket.getsockopt_string(zmq.LAST_ENDPOINT) for socket in (front, back)])
    ready: collections.deque[bytes] = collections.deque()
    waiting: collections.deque[list[bytes]] = collections.deque()
    poller = zmq.Poller()
    poller.register(front, zmq.POLLIN)
    poller.register(back, zmq.POLLIN)
    while True:
        events = dict(poller.poll())
        if back in events:
            with contextlib.suppress(zmq.Again):
                while True:
                    worker, *reply = back.recv_multipart(zmq.DONTWAIT)
                    ready.append(worker)
                    if len(reply) == 2:
                        front.send_multipart(reply)
        if front in events:
            with contextlib.suppress(zmq.Again):
                while True:
                    waiting.append(front.recv_multipart(zmq.DONTWAIT))
        while ready and waiting:
            back.send_multipart([ready.popleft(), *waiting.popleft()])


class Floor:
    """A client of such a broker."""

    def __init__(self, endpoint: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.set_hwm(0)
        self._socket.connect(endpoint)

    def round_trip(self) -> None:
        """One message there and back."""
        self._socket.send(b"task")
        self._socket.recv()

    def burst(self, count: int) -> None:
        """So many messages, then so many answers."""
        for _ in range(count):
            self._socket.send(b"task")
        for _ in range(count):
            self._socket.recv()

    def close(self) -> None:
        """Leaves."""
        self._context.destroy(0)


@contextlib.contextmanager
def floor(transport: str, workers: int) -> Iterator[Floor]:
    """A broker with workers, each a process, and a client."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        clients, backs = "tcp://127.0.0.1:*", "tcp://127.0.0.1:*"
        if transport == "ipc":
            clients, backs = f"ipc://{folder}/clients", f"ipc://{folder}/workers"
        ours, theirs = spawn.Pipe()
        processes = [spawn.Process(target=_broker, args=(clients, backs, theirs), daemon=True)]
        processes[0].start()
        clients, backs = ours.recv()
        for _ in range(workers):
            processes.append(spawn.Process(target=_worker, args=(backs,), daemon=True))
            processes[-1].start()
        client = Floor(clients)
        try:
            client.burst(workers * 10)
            yield client
        finally:
            client.close()
            for process in processes:
                process.terminate()
            for process in processes:
                process.join()
