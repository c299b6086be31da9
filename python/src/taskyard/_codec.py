"""What stands in the payloads: calls, results, errors and commands.

``docs/PYTHON_PAYLOADS.md`` is the description. The controller never looks into any of this. Large
buffers (arrays, bytes) travel as frames of their own, which are not copied here.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from taskyard import _functions
from taskyard._functions import cloud_dumps
from taskyard.errors import NotSerializable, RemoteError, RemoteTraceback

CALL: Final = b"PY1\0"
ERROR: Final = b"PYE\0"
COMMAND: Final = b"SH1\0"

MAGIC_BYTES: Final = 4
BUFFERS_MAX: Final = 63
#: Smaller buffers are cheaper when they are copied.
BUFFER_BYTES_MIN: Final = 64 * 1024
COMMAND_OUTPUT_BYTES_MAX: Final = 8 << 20

Frame = bytes | bytearray | memoryview

_LENGTH = struct.Struct("<I")
_CALL_HEAD = struct.Struct("<4sI")
_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class PayloadError(ValueError):
    """A payload is not what was expected: it is of another program, or of another version."""


def magic_of(frames: Sequence[Frame]) -> bytes:
    """The word with which a payload begins: :data:`CALL`, :data:`COMMAND` or another.

    >>> assert magic_of(encode_value(1)) == CALL and magic_of([]) == b""
    """
    return bytes(frames[0][:MAGIC_BYTES]) if frames else b""


# --- calls


def encode_call(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[Frame]:
    """The payload that makes a worker call ``fn(*args, **kwargs)``.

    Raises :class:`~taskyard.errors.NotSerializable`, which names the argument.

    >>> fn, args, kwargs = decode_call(encode_call(divmod, (7,), {}))
    >>> assert fn is divmod and args == (7,) and kwargs == {}
    """
    try:
        function = _functions.dumps(fn)
    except Exception as error:
        raise NotSerializable(
            f"the function {_name_of(fn)} cannot be pickled: {error}; what it uses from around it "
            "is sent along, so look for a lock, a file or a socket there"
        ) from error
    try:
        body, buffers = _dump((_outsource(args), _outsource_values(kwargs)))
    except Exception as error:
        raise _blame(fn, args, kwargs, error) from error
    head = _CALL_HEAD.pack(CALL, len(function)) + function + body
    return [head, *buffers] if buffers else [head]


def decode_call(
    frames: Sequence[Frame],
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """The function and the arguments. It raises what unpickling raises: that is the task's."""
    first = memoryview(_expect(frames, CALL, "call"))
    (length,) = _LENGTH.unpack_from(first, MAGIC_BYTES)
    start = MAGIC_BYTES + _LENGTH.size
    fn = _functions.loads(first[start : start + length])
    args, kwargs = pickle.loads(first[start + length :], buffers=_buffers(frames))
    return fn, args, kwargs


def encode_value(value: Any) -> list[Frame]:
    """The payload of a result.

    Raises :class:`~taskyard.errors.NotSerializable`.

    >>> assert decode_value(encode_value({"a": 1})) == {"a": 1}
    """
    try:
        body, buffers = _dump(_outsourced(value))
    except Exception as error:
        raise NotSerializable(
            f"the result, a {type(value).__qualname__}, cannot be pickled: {error}; "
            "return plain data, or a path to what was written"
        ) from error
    return [CALL + body, *buffers]


def decode_value(frames: Sequence[Frame]) -> Any:
    """The result that a payload stands for."""
    first = _expect(frames, CALL, "result")
    if len(frames) == 1:
        return pickle.loads(memoryview(first)[MAGIC_BYTES:])
    return pickle.loads(memoryview(first)[MAGIC_BYTES:], buffers=_buffers(frames))


def _expect(frames: Sequence[Frame], magic: bytes, what: str) -> Frame:
    if frames and frames[0][:MAGIC_BYTES] == magic:
        return frames[0]
    found = bytes(frames[0][:MAGIC_BYTES]) if frames else b""
    raise PayloadError(f"this is no {what} of a Python client or worker: it begins with {found!r}")


def _buffers(frames: Sequence[Frame]) -> list[memoryview]:
    """Buffers that may be written to, as those were that they are made from."""
    views = (memoryview(frame) for frame in frames[1:])
    return [memoryview(bytearray(view)) if view.readonly else view for view in views]


# --- pickling


class _Outsourced:
    """Bytes that shall travel in a frame of their own. What arrives are bytes again."""

    __slots__ = ("data",)

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data

    def __reduce_ex__(self, _protocol: object) -> tuple[Any, ...]:
        return type(self.data), (pickle.PickleBuffer(self.data),)


_BYTES = (bytes, bytearray)


def _outsourced(value: Any) -> Any:
    if type(value) in _BYTES and len(value) >= BUFFER_BYTES_MIN:
        return _Outsourced(value)
    return value


def _outsource(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value in values:
        if type(value) in _BYTES:
            return tuple(map(_outsourced, values))
    return values


def _outsource_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _outsourced(value) for name, value in values.items()} if values else {}


# What cannot drag anything along that would have to be sent by value.
_PLAIN = frozenset({int, float, str, bool, type(None), complex, bytes})


def _is_plain(call: Any) -> bool:
    if type(call) in _PLAIN:
        return True
    if type(call) is not tuple or len(call) != 2 or type(call[0]) is not tuple:
        return False
    # It may be a result of that shape, too: an array is not asked whether it is true.
    if type(call[1]) is not dict or call[1]:
        return False
    return all(type(value) in _PLAIN for value in call[0])


def _dump(value: Any) -> tuple[bytes, list[memoryview]]:
    """A pickle and its large buffers. Plain pickle does it where all that it refers to can be
    imported at the other end; cloudpickle, many times slower, where something cannot."""
    if _is_plain(value):
        return pickle.dumps(value, 5), []
    if not _functions.sends_by_value():
        try:
            body, buffers = _dump_with(pickle.Pickler, value)
        except Exception:
            # Something local: a lambda, a class in a function. Or nothing can pickle it.
            pass
        else:
            if b"__main__" not in body:
                return body, buffers
    import cloudpickle

    return _dump_with(cloudpickle.Pickler, value)


def _dump_with(pickler: Callable[..., Any], value: Any) -> tuple[bytes, list[memoryview]]:
    buffers: list[memoryview] = []

    def stays_in_band(buffer: pickle.PickleBuffer) -> bool:
        if len(buffers) >= BUFFERS_MAX:
            return True
        raw = buffer.raw()
        if raw.nbytes < BUFFER_BYTES_MIN:
            return True
        buffers.append(raw)
        return False

    file = io.BytesIO()
    pickler(file, 5, buffer_callback=stays_in_band).dump(value)
    return file.getvalue(), buffers


def _name_of(fn: object) -> str:
    return str(getattr(fn, "__qualname__", None) or type(fn).__qualname__)


def _blame(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], error: Exception
) -> NotSerializable:
    """Says which argument cannot be pickled."""
    named: list[tuple[str, Any]] = [
        *zip(_parameters(fn, len(args)), args, strict=True),
        *((repr(name), value) for name, value in kwargs.items()),
    ]
    for name, value in named:
        try:
            _dump(value)
        except Exception as reason:
            what = f"argument {name} of {_name_of(fn)}, a {type(value).__qualname__}"
            return NotSerializable(f"{what}, cannot be pickled: {reason}")
    return NotSerializable(f"the arguments of {_name_of(fn)} cannot be pickled: {error}")


def _parameters(fn: Callable[..., Any], count: int) -> list[str]:
    """What the first ``count`` positional parameters are called."""
    import inspect

    names: list[str] = []
    try:
        for parameter in inspect.signature(fn).parameters.values():
            if parameter.kind is parameter.VAR_POSITIONAL:
                name = parameter.name
                names += [f"'{name}[{index}]'" for index in range(count - len(names))]
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                names.append(repr(parameter.name))
    except (ValueError, TypeError):
        pass
    names = names[:count]
    return names + [f"number {index + 1}" for index in range(len(names), count)]


# --- errors


def encode_error(error: BaseException, worker_name: str) -> list[Frame]:
    """The payload of an attempt that raised; it never fails.

    >>> error = decode_error(encode_error(KeyError("seed"), "gpu-3"))
    >>> assert type(error) is KeyError and error.args == ("seed",)
    >>> assert "gpu-3" in str(error.__cause__)
    """
    import traceback

    trace = error.__traceback__
    # What this package did to get there helps nobody.
    while trace and trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        trace = trace.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, trace))
    except Exception:
        text = f"{type(error).__qualname__} (its traceback cannot be shown)\n"
    try:
        pickled: bytes | None = _dump_in_band(error)
    except Exception:
        pickled = None
    said = {
        "type": type(error).__qualname__,
        "message": _text_of(error),
        "traceback": text,
        "exception": pickled,
        "worker": worker_name,
    }
    return [ERROR + pickle.dumps(said, 5)]


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its message cannot be shown)"


def _dump_in_band(value: Any) -> bytes:
    """Pickled without frames of its own."""
    body = _functions.dump_by_reference(value)
    return cloud_dumps(value) if body is None else body


def decode_error(frames: Sequence[Frame]) -> Exception:
    """What a task raised, with the worker's traceback as its cause. What cannot be made here, and
    what would end or cancel this program rather than be handled by it (``SystemExit``), comes as
    :class:`~taskyard.errors.RemoteError`. It never fails.
    """
    if not frames:
        return RemoteError(
            "", "the worker says that it failed, and no more; its result may be too large to send"
        )
    first = bytes(frames[0])
    if first[:MAGIC_BYTES] != ERROR:
        return RemoteError("", first[:4096].decode(errors="replace"))
    try:
        said = pickle.loads(first[MAGIC_BYTES:])
        kind, message = str(said["type"]), str(said["message"])
        worker, pickled = str(said.get("worker", "")), said.get("exception")
        cause = RemoteTraceback(str(said.get("traceback", "")), worker)
    except Exception as problem:
        return RemoteError("", f"the worker failed, and what it says cannot be read: {problem}")
    error: Exception | None = None
    if pickled is not None:
        try:
            found = pickle.loads(pickled)
            error = found if isinstance(found, Exception) else None
        except Exception:
            # Many exceptions cannot be made from what they say of themselves.
            pass
    if error is None:
        error = RemoteError(kind, message, worker)
    error.__cause__ = cause
    return error


# --- commands


class Command(NamedTuple):
    """A program to run: either its arguments or a text for the shell."""

    argv: list[str] | None = None
    shell: str | None = None
    cwd: str | None = None
    #: Added to the worker's environment.
    env: dict[str, str] | None = None


class CommandResult(NamedTuple):
    """How a program ended, and what it wrote."""

    #: Its exit code; None if a signal ended it.
    code: int | None
    signal: int | None
    stdout: bytes
    stderr: bytes
    #: Whether it wrote more than is passed on.
    stdout_truncated: bool = False
    stderr_truncated: bool = False


def encode_command(command: Command) -> list[Frame]:
    """The payload that makes a worker run a program.

    >>> command = Command(argv=["ls", "-l"], cwd="/")
    >>> assert decode_command(encode_command(command)) == command
    """
    import json

    if (command.argv is None) == (command.shell is None):
        raise ValueError("a command is either argv or shell text")
    said = {name: value for name, value in command._asdict().items() if value is not None}
    return [COMMAND + json.dumps(said).encode()]


def decode_command(frames: Sequence[Frame]) -> Command:
    """The program to run. Raises :class:`PayloadError`."""
    said = _json(frames, "command")
    argv, shell = said.get("argv"), said.get("shell")
    cwd, env = said.get("cwd"), said.get("env")
    is_good = (
        (isinstance(shell, str) if argv is None else _is_texts(argv) and bool(argv) and not shell)
        and (cwd is None or isinstance(cwd, str))
        and (env is None or (isinstance(env, dict) and _is_texts([*env, *env.values()])))
    )
    if not is_good:
        raise PayloadError("this command cannot be run: it needs either argv or shell, in text")
    return Command(argv, shell, cwd, env)


def encode_command_result(result: CommandResult) -> list[Frame]:
    """The payload that says how a program ended.

    >>> result = CommandResult(0, None, b"out", b"")
    >>> assert decode_command_result(encode_command_result(result)) == result
    """
    import json

    limit = COMMAND_OUTPUT_BYTES_MAX
    said = {
        "code": result.code,
        "signal": result.signal,
        "stdout_truncated": result.stdout_truncated or len(result.stdout) > limit,
        "stderr_truncated": result.stderr_truncated or len(result.stderr) > limit,
    }
    head = COMMAND + json.dumps(said).encode()
    return [head, result.stdout[:limit], result.stderr[:limit]]


def decode_command_result(frames: Sequence[Frame]) -> CommandResult:
    """How a program ended. Raises :class:`PayloadError`."""
    said = _json(frames, "result of a command")
    stdout, stderr = (bytes(frames[place]) if place < len(frames) else b"" for place in (1, 2))
    return CommandResult(
        said.get("code"),
        said.get("signal"),
        stdout,
        stderr,
        bool(said.get("stdout_truncated")),
        bool(said.get("stderr_truncated")),
    )


def _json(frames: Sequence[Frame], what: str) -> dict[str, Any]:
    import json

    first = _expect(frames, COMMAND, what)
    try:
        said = json.loads(bytes(first[MAGIC_BYTES:]))
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise PayloadError(f"this {what} cannot be read")
    return said


def _is_texts(values: Iterable[Any]) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
