"""Asks a controller about a worker, at the workers' endpoint and without being one."""

from __future__ import annotations

import time

import zmq

from taskyard import _wire as wire

from ._options import Options

# Exit codes of the process that asks.
GIVEN_UP = 0
COUNTED_ON = 1
NOT_KNOWN = 2

_YES = 1
_NO = 0


def ask(options: Options, epoch: int, patience_s: float) -> int:
    """Whether the controller has given this worker up: it says that the worker is not there, or
    knows it under another registration. Who has never heard of it says nothing about that: a
    controller that was started anew may still be told what the worker has done."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = wire.open_socket(context, wire.find_connection("worker", options.connect))
    until = time.monotonic() + patience_s
    question = wire.pack(wire.IS_ALIVE, flags=wire.NAMED, code=wire.TOPIC_NAME, id=1)
    asked = False
    try:
        while (left_s := until - time.monotonic()) > 0:
            if not asked and socket.poll(0, zmq.POLLOUT):
                socket.send(question + wire.text_section(options.name))
                asked = True
            if not socket.poll(min(left_s * 1000, 50)):
                continue
            first, *_ = socket.recv_multipart()
            if len(first) < wire.HEADER_BYTES:
                continue
            header = wire.Header.of(first)
            if header.kind == wire.ALIVE:
                return _judge(header, epoch)
    finally:
        socket.close(linger=0)
    return NOT_KNOWN


def _judge(header: wire.Header, epoch: int) -> int:
    if header.code == _NO:
        return GIVEN_UP
    if header.code == _YES and header.flags & wire.HAS_WORKER and header.epoch != epoch:
        return GIVEN_UP
    return COUNTED_ON if header.code == _YES else NOT_KNOWN
