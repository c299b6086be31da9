"""The worker's command line."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

NAME_BYTES_MAX = 255
LABEL_BYTES_MAX = 63
LABELS_MAX = 8


@dataclass(frozen=True)
class Options:
    """What a worker's process needs to know. The defaults are those of the command line."""

    name: str
    connect: str | None = None
    slots: int = 1
    labels: tuple[str, ...] = ()
    prefetch: int = 0
    abort_grace_s: float = 3.0
    reconnect: bool = True


@dataclass(frozen=True)
class Arguments:
    """The command line: one worker's options, and what is around them."""

    worker: Options
    names: tuple[str, ...]
    nanny: bool
    controlled: bool
    status: str | None


def check_name(name: str) -> str:
    """A worker's name, or ``ValueError``."""
    if not 1 <= len(name.encode()) <= NAME_BYTES_MAX:
        raise ValueError(f"a worker's name has 1 to {NAME_BYTES_MAX} bytes, not {name!r}")
    return name


def check_label(label: str) -> str:
    """A worker's label, or ``ValueError``."""
    if not 1 <= len(label.encode()) <= LABEL_BYTES_MAX:
        raise ValueError(f"a label has 1 to {LABEL_BYTES_MAX} bytes, not {label!r}")
    return label


def default_name() -> str:
    """A name that no other worker has by chance: this host's, and the process's number."""
    return f"{socket.gethostname()}-{os.getpid()}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m taskyard.worker",
        description="Runs Python functions and commands for a Taskyard controller.",
        epilog="Ended by SIGTERM or Ctrl-C: finishes what runs, then leaves; twice: at once.",
    )
    add = parser.add_argument
    add("--connect", metavar="FILE", help="connection file of the role worker, or its folder")
    add("--name", help="stable name, unique among the controller's workers [host and process]")
    add("--slots", type=int, default=1, metavar="N", help="tasks at once [1]; see --processes")
    add("--processes", type=int, default=1, metavar="N", help="worker processes, NAME-0 ... [1]")
    add("--label", action="append", default=[], metavar="L", help="may be given up to 8 times")
    add("--prefetch", type=int, default=None, metavar="N", help="tasks sent in advance [0]")
    add(
        "--abort-grace-s",
        type=float,
        default=3.0,
        metavar="S",
        help="after so long in an aborted call the process is killed and replaced [3]",
    )
    add(
        "--no-nanny",
        dest="nanny",
        action="store_false",
        help="no parent process: nothing replaces the worker, and aborts cannot kill it",
    )
    add(
        "--once",
        dest="reconnect",
        action="store_false",
        help="end when the controller is gone, instead of waiting for it to come back",
    )
    add("--controlled", action="store_true", help=argparse.SUPPRESS)
    add("--status", metavar="FILE", help=argparse.SUPPRESS)
    return parser


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Reads the command line; what is wrong with it ends the process with a line that says so."""
    parser = _parser()
    given = parser.parse_args(argv)
    try:
        name = check_name(given.name or default_name())
        labels = tuple(check_label(label) for label in given.label)
    except ValueError as error:
        parser.error(str(error))
    if len(labels) > LABELS_MAX:
        parser.error(f"at most {LABELS_MAX} labels")
    if not 1 <= given.slots <= 1024:
        parser.error("--slots is from 1 to 1024")
    if given.processes < 1 or (given.processes > 1 and not given.nanny):
        parser.error("--processes is at least 1, and more than 1 only with a nanny")
    prefetch = 0 if given.prefetch is None else given.prefetch
    if not 0 <= prefetch <= 255:
        parser.error("--prefetch is from 0 to 255")
    names: tuple[str, ...] = (name,)
    if given.processes > 1:
        names = tuple(f"{name}-{number}" for number in range(given.processes))
    worker = Options(
        name=name,
        connect=given.connect,
        slots=given.slots,
        labels=labels,
        prefetch=prefetch,
        abort_grace_s=given.abort_grace_s,
        reconnect=given.reconnect,
    )
    return Arguments(
        worker=worker,
        names=() if given.controlled else names,
        nanny=given.nanny,
        controlled=given.controlled,
        status=given.status,
    )
