"""Runs what a payload says: a call, or a command."""

from __future__ import annotations

from collections.abc import Callable

from taskyard import _codec

from ._command import run_command
from ._session import COMPLETED, FAILED, Frames, bytes_of
from ._slot import TaskAborted

Take = Callable[[int, bytes], None]


class ResultTooLarge(Exception):
    """The value that a function has returned is larger than the controller takes."""


class Executor:
    """Runs payloads. Several threads may use it at once."""

    def __init__(self, name: str) -> None:
        self._name = name

    def execute(self, frames: Frames, payload_max: int, take: Take) -> tuple[int, Frames]:
        """Runs a payload; gives verdict and result. Whatever the function raises is a result, too,
        except :class:`TaskAborted`."""
        try:
            verdict, result = self._execute(frames, take)
            size = bytes_of(result)
            if payload_max and size > payload_max:
                raise ResultTooLarge(
                    f"the result has {size} bytes, and the controller takes {payload_max}: return"
                    " less, or start the controller with a larger --payload-max-bytes"
                )
        except TaskAborted:
            raise
        except BaseException as error:
            return FAILED, self._encode_error(error, payload_max)
        return verdict, result

    def _execute(self, frames: Frames, take: Take) -> tuple[int, Frames]:
        magic = _codec.magic_of(frames)
        if magic == _codec.CALL:
            function, arguments, keywords = _codec.decode_call(frames)
            del frames
            return COMPLETED, _codec.encode_value(function(*arguments, **keywords))
        if magic == _codec.COMMAND:
            ended = run_command(_codec.decode_command(frames), take)
            verdict = COMPLETED if ended.code == 0 else FAILED
            return verdict, _codec.encode_command_result(ended)
        raise ValueError(
            f"this worker has no word for a payload that begins with {magic!r}: it runs Python"
            " calls and commands; submit with the package taskyard, or with `taskyard submit`"
        )

    def _encode_error(self, error: BaseException, payload_max: int) -> Frames:
        frames = _codec.encode_error(error, self._name)
        size = bytes_of(frames)
        if payload_max and size > payload_max:
            short = ResultTooLarge(
                f"{type(error).__qualname__} was raised, but it has {size} bytes, and the"
                f" controller takes {payload_max}"
            )
            frames = _codec.encode_error(short, self._name)
        return frames
