"""Payloads: what goes in comes out, large buffers travel by themselves, nothing stale is sent."""

from __future__ import annotations

import doctest
import functools
import math
import pickle
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from taskyard import _codec, _functions, _session, _wire, errors
from taskyard._codec import Command, CommandResult
from taskyard.errors import NotSerializable, RemoteError


@pytest.mark.parametrize("module", [_codec, _functions, _session, _wire, errors])
def test_what_the_docs_say_is_so(module: types.ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


def in_main(source: str, **known: object) -> dict[str, Any]:
    """The names of a program of its own that is run as ``__main__``."""
    names: dict[str, Any] = {"__name__": "__main__", **known}
    exec(source, names)
    return names


def called(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a worker would return, in this process."""
    fn, args, kwargs = _codec.decode_call(_codec.encode_call(fn, args, kwargs))
    return _codec.decode_value(_codec.encode_value(fn(*args, **kwargs)))


def in_another_process(frames: list[Any]) -> str:
    """What a process that knows nothing of this one makes of a call."""
    program = (
        "import sys, pickle; from taskyard import _codec\n"
        "fn, args, kwargs = _codec.decode_call(pickle.load(sys.stdin.buffer))\n"
        "print(fn(*args, **kwargs))"
    )
    data = pickle.dumps([bytes(frame) for frame in frames])
    done = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def test_functions_of_all_kinds() -> None:
    assert called(math.sqrt, 9) == 3
    assert called(lambda x, *, k: x + k, 1, k=2) == 3
    assert called(functools.partial(max, 4), 7) == 7
    assert called("a-b".split, "-") == ["a", "b"]
    assert called(dict, a=1) == {"a": 1}


def test_what_main_defines_is_sent_along() -> None:
    names = in_main(
        "import math\n"
        "class Point:\n    def __init__(self, x): self.x = x\n"
        "def helper(x): return math.floor(x)\n"
        "def run(point): return helper(point.x)\n"
    )
    frames = _codec.encode_call(names["run"], (names["Point"](2.5),), {})
    assert in_another_process(frames) == "2"


def test_a_function_of_a_library_goes_by_reference() -> None:
    assert len(_functions.dumps(math.sqrt)) < 60
    assert in_another_process(_codec.encode_call(math.sqrt, (4,), {})) == "2.0"


def test_large_buffers_travel_by_themselves_and_are_not_copied() -> None:
    array = np.arange(100_000.0)
    small = np.arange(10)
    frames = _codec.encode_call(max, (array, small), {"key": b"x" * 100_000})
    assert [len(memoryview(frame).cast("B")) for frame in frames[1:]] == [800_000, 100_000]
    assert np.shares_memory(np.frombuffer(frames[1], dtype=float), array)
    _, (got, got_small), kwargs = _codec.decode_call(frames)
    assert np.shares_memory(got, array)
    assert (got_small == small).all()
    assert kwargs == {"key": b"x" * 100_000}


@pytest.mark.parametrize("value", [b"a" * 70_000, bytearray(b"b" * 70_000)])
def test_large_bytes_come_back_as_what_they_were(value: bytes | bytearray) -> None:
    frames = _codec.encode_value(value)
    assert len(frames) == 2
    assert len(frames[0]) < 200
    got = _codec.decode_value([bytes(frame) for frame in frames])
    assert got == value
    assert type(got) is type(value)


def test_arrays_that_arrive_may_be_written_to_however_they_came() -> None:
    array = np.zeros(20_000)
    for arrive in (bytes, bytearray, memoryview):
        frames = [arrive(frame) for frame in _codec.encode_value(array)]
        got = _codec.decode_value(frames)
        got += 1
        assert got.sum() == 20_000
    locked = np.zeros(20_000)
    locked.flags.writeable = False
    assert not _codec.decode_value(_codec.encode_value(locked)).flags.writeable


def test_more_buffers_than_frames_stay_in_band() -> None:
    arrays = [np.full(10_000, number) for number in range(100)]
    frames = _codec.encode_value(arrays)
    assert len(frames) == 1 + _codec.BUFFERS_MAX
    assert [int(array[0]) for array in _codec.decode_value(frames)] == list(range(100))


@pytest.mark.parametrize("first", [1, (1, 2), np.arange(3)])
def test_two_results_of_which_one_is_an_array(first: Any) -> None:
    back = _codec.decode_value(_codec.encode_value((first, np.arange(3))))
    assert type(back) is tuple
    assert np.array_equal(back[0], first)
    assert np.array_equal(back[1], np.arange(3))


def test_an_argument_that_cannot_be_sent_is_named() -> None:
    lock = threading.Lock()

    def simulate(seed: int, guard: object, *more: object, where: object = None) -> None:
        pass

    for args, kwargs, name in [
        ((1, lock), {}, "'guard'"),
        ((1, 2, 3, lock), {}, "'more[1]'"),
        ((1, 2), {"where": lock}, "'where'"),
        ((1, [{"deep": lock}]), {}, "'guard'"),
    ]:
        with pytest.raises(NotSerializable, match="simulate") as caught:
            _codec.encode_call(simulate, args, kwargs)
        assert name in str(caught.value)
    with pytest.raises(NotSerializable, match=r"function .*lambda.* cannot be pickled"):
        _codec.encode_call(lambda: lock, (), {})
    with pytest.raises(NotSerializable, match="the result, a lock"):
        _codec.encode_value(lock)


# --- the cache of functions


def pickles(fn: Callable[..., Any], times: int = 2) -> list[bytes]:
    return [_functions.dumps(fn) for _ in range(times)]


def is_kept(fn: types.FunctionType) -> bool:
    _functions.dumps(fn)
    kept = _functions._kept.get(id(fn.__code__))
    return kept is not None and kept.is_same(fn)


def test_a_function_that_cannot_change_is_pickled_once() -> None:
    names = in_main(
        "import math, os.path\nK = 5\nT = (1, 'a')\n"
        "def helper(x: int) -> int: return x + K\n"
        "def run(x: list[int], y=3): return helper(math.floor(x)) + T[0] + len(os.path.sep)\n"
    )
    assert is_kept(names["run"])
    first, second = pickles(names["run"])
    assert first is second


@pytest.mark.parametrize(
    "source",
    [
        "L = []\ndef run(): return L",
        "def run(x=[]): return x",
        "def run(*, x=1): return x",
        "class C: pass\ndef run(): return C",
        "def run(): return 1\nrun.mark = 2",
        "def outer(y):\n    def run(): return y\n    return run\nrun = outer(3)",
        "L = {}\ndef helper(): return L\ndef run(): return helper()",
        "def run(): return (lambda: L)()\nL = []",
    ],
)
def test_a_function_that_could_change_is_pickled_each_time(source: str) -> None:
    assert not is_kept(in_main(source)["run"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("K = 6", 6),
        ("def helper(): return 7", 7),
        ("run.__defaults__ = (3,)", 8),
        ("run.__code__ = (lambda x=0: 9).__code__", 9),
        ("helper.__code__ = (lambda: 10).__code__", 10),
        ("len = lambda _: 11", 11),
    ],
)
def test_a_change_is_seen(change: str, expected: int) -> None:
    names = in_main("K = 5\ndef helper(): return K\ndef run(x=0): return helper() + x + len(())\n")
    run = names["run"]
    assert is_kept(run)
    assert in_another_process(_codec.encode_call(run, (), {})) == "5"
    exec(change, names)
    got = in_another_process(_codec.encode_call(run, (), {}))
    assert int(got) == {11: 16}.get(expected, expected)


def test_lambdas_made_at_one_place_share_a_pickle() -> None:
    names = in_main("def make(): return lambda x: x + 1\n")
    assert _functions.dumps(names["make"]()) is _functions.dumps(names["make"]())


def test_a_worker_makes_a_function_once_if_that_cannot_be_noticed() -> None:
    names = in_main(
        "C = [0]\nN = 0\n"
        "def plain(): return 1\n"
        "def appends(): C.append(1); return len(C)\n"
        "def counts():\n    global N\n    N += 1\n    return N\n"
    )
    plain = _functions.dumps(names["plain"])
    assert _functions.loads(plain) is _functions.loads(plain)
    for name, expected in [("appends", 2), ("counts", 1)]:
        pickled = _functions.dumps(names[name])
        assert [_functions.loads(pickled)() for _ in range(3)] == [expected] * 3


# --- errors


def raised(fn: Callable[[], Any]) -> Exception:
    try:
        fn()
    except BaseException as error:
        return _codec.decode_error(_codec.encode_error(error, "gpu-3"))
    raise AssertionError("it did not raise")


class Awkward(Exception):
    """Cannot be made from what it says of itself."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_an_error_comes_back_as_itself_with_the_remote_traceback() -> None:
    def fails() -> None:
        raise KeyError("seed")

    error = raised(fails)
    assert type(error) is KeyError
    assert error.args == ("seed",)
    said = str(error.__cause__)
    assert "gpu-3" in said
    assert "in fails" in said
    assert 'raise KeyError("seed")' in said


def test_a_class_of_main_comes_back_as_the_same_class() -> None:
    names = in_main("class Mine(Exception): pass\ndef fails(): raise Mine(1)\n")
    fn, _, _ = _codec.decode_call(_codec.encode_call(names["fails"], (), {}))
    assert type(raised(fn)) is names["Mine"]


def test_what_cannot_be_made_again_is_still_told() -> None:
    def awkward() -> None:
        raise Awkward(1, 2)

    def leaves() -> None:
        sys.exit(3)

    def mute() -> None:
        raise Mute

    error = raised(awkward)
    assert isinstance(error, RemoteError)
    assert str(error) == "on gpu-3: Awkward: 1 and 2"
    error = raised(leaves)
    assert isinstance(error, RemoteError)
    assert error.type == "SystemExit"
    assert isinstance(raised(mute), (Mute, RemoteError))


@pytest.mark.parametrize(
    "frames", [[], [b""], [b"PYE\0"], [b"PYE\0garbage"], [b"boom"], [b"PYE\0" + pickle.dumps(3)]]
)
def test_garbage_in_place_of_an_error_is_an_error(frames: list[bytes]) -> None:
    assert isinstance(_codec.decode_error(frames), RemoteError)


@pytest.mark.parametrize("frames", [[], [b""], [b"SH"], [b"hello"], [b"SH1\0{}"]])
def test_garbage_in_place_of_a_call_is_refused(frames: list[bytes]) -> None:
    for decode in (_codec.decode_call, _codec.decode_value, _codec.decode_command):
        with pytest.raises((_codec.PayloadError, ValueError)):
            decode(frames)


# --- commands


@pytest.mark.parametrize(
    "command",
    [
        Command(argv=["ls", "-l"]),
        Command(shell="ls | wc"),
        Command(shell="pwd", cwd="/tmp", env={"A": "ü"}),
    ],
)
def test_commands(command: Command) -> None:
    assert _codec.decode_command(_codec.encode_command(command)) == command


@pytest.mark.parametrize("text", ['{"argv": []}', '{"argv": "ls"}', "{}", "[]", "x"])
def test_commands_that_are_none(text: str) -> None:
    with pytest.raises(_codec.PayloadError):
        _codec.decode_command([b"SH1\0" + text.encode()])


def test_the_output_of_a_command_has_a_limit() -> None:
    limit = _codec.COMMAND_OUTPUT_BYTES_MAX
    said = CommandResult(None, 9, b"x" * (limit + 1), b"")
    got = _codec.decode_command_result(_codec.encode_command_result(said))
    assert (got.code, got.signal, len(got.stdout)) == (None, 9, limit)
    assert got.stdout_truncated
    assert not got.stderr_truncated
