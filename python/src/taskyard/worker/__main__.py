"""``python -m taskyard.worker``: a keeper, a nanny, and the processes that they look after."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ._options import Arguments, Options, parse


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a worker until it ends; gives the process's exit code. In the processes that it forks
    it returns, too, each with its own."""
    arguments = parse(argv)
    # A worker that is started with its controller may be the first to be ready.
    error = None if arguments.controlled else _find_controller(arguments.worker)
    if error is not None:
        print(f"taskyard: {error}", file=sys.stderr)
        return 2
    if not arguments.nanny:
        return _run(arguments.worker, None)
    from ._keeper import keep
    from ._nanny import BecomeWorker

    try:
        return keep(lambda lifeline: _look_after(arguments, lifeline))
    except BecomeWorker as become:
        place = become.place
    return _run(place.options, place)


def _find_controller(options: Options) -> str | None:
    """Why no worker can be started: said once, before there are processes."""
    from taskyard import _wire

    try:
        connection = _wire.find_connection("worker", options.connect)
    except (OSError, ValueError) as error:
        return str(error)
    if connection.role != "worker":
        return f"{connection.path}: it is for the role {connection.role}: give the worker's file"
    return None


def _look_after(arguments: Arguments, lifeline: int) -> int:
    # Loaded here, before the first fork, for all the workers to come. None of it starts a thread.
    from . import _runner  # noqa: F401
    from ._nanny import Nanny

    nanny = Nanny(
        arguments.worker,
        lifeline=lifeline,
        controlled=arguments.controlled,
        status=arguments.status,
    )
    for name in arguments.names:
        nanny.add_named(name)
    return nanny.run()


def _run(options: Options, place: object) -> int:
    from ._runner import Runner

    return Runner(options, place).run()  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
