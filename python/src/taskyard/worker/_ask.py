"""Asks a controller about a worker, at the workers' endpoint and without being one."""

from __future__ import annotations

import time

import zmq

from taskyard import _wire as wire

from ._options import Options

_ASK_EVERY_S = 0.5
# A controller that was started anew has not heard of the worker either, and waits for results from
# before for some seconds (--restart-grace-ms).
_NOT_KNOWN_S = 12.0

_NO = 0
_YES = 1


def ask_until_given_up(options: Options, epoch: int) -> None:
    """Returns when the controller has given this worker up: it says that the worker is not there,
    or knows it under another registration, or does not know it any more.

    A controller that was started anew does not know it *yet*. It is told from one that has given it
    up by the connection: the same one cannot lead to two controllers, and a new one begins with
    *WhoAreYou*.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = wire.open_socket(context, wire.find_connection("worker", options.connect))
    question = wire.pack(wire.IS_ALIVE, flags=wire.NAMED, code=wire.TOPIC_NAME, id=1)
    question += wire.text_section(options.name)
    was_known = False
    not_known_since: float | None = None
    while True:
        if socket.poll(int(_ASK_EVERY_S * 1000)):
            first, *_ = socket.recv_multipart()
            if len(first) < wire.HEADER_BYTES:
                continue
            header = wire.Header.of(first)
            if header.kind == wire.WHO_ARE_YOU:
                was_known, not_known_since = False, None
                socket.send(question)
            elif header.kind == wire.ALIVE and header.code == _YES:
                if header.epoch != epoch:
                    return
                was_known, not_known_since = True, None
            elif header.kind == wire.ALIVE:
                now = time.monotonic()
                not_known_since = not_known_since or now
                if header.code == _NO or was_known or now - not_known_since > _NOT_KNOWN_S:
                    return
        elif socket.poll(0, zmq.POLLOUT):
            socket.send(question)
