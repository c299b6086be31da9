"""Pickles of functions: by reference where the other end can import them, else by value.

A pickle by value takes about 0.1 ms, so it is kept, but only for as long as it can be *proved* that
it would come out the same: the function has no closure, and all that it refers to is the same
object as before and cannot change.
"""

from __future__ import annotations

import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any

_KEPT_MAX = 256
_KEPT_BYTES_MAX = 1 << 20
_MISSING = object()
_ATOMS = (int, float, complex, str, bytes, bool, type(None), type(...))


def sends_by_value() -> bool:
    """Whether the user has told cloudpickle to send some modules by value: then plain pickle, which
    knows nothing of that, is of no use."""
    cloudpickle = sys.modules.get("cloudpickle.cloudpickle")
    return bool(cloudpickle and getattr(cloudpickle, "_PICKLE_BY_VALUE_MODULES", None))


def cloud_dumps(value: Any) -> bytes:
    """A pickle that carries along what cannot be imported at the other end."""
    import cloudpickle

    pickled: bytes = cloudpickle.dumps(value, 5)
    return pickled


def dump_by_reference(value: Any) -> bytes | None:
    """A plain pickle, if the workers can import all that it names; without frames of its own."""
    if sends_by_value():
        return None
    try:
        pickled = pickle.dumps(value, 5)
    except Exception:
        # Not to be found by its name: a lambda, or a function in a function.
        return None
    return None if b"__main__" in pickled else pickled


def dumps(fn: Callable[..., Any]) -> bytes:
    """The pickle of a function, or of whatever else can be called."""
    is_function = type(fn) is types.FunctionType
    if not (is_function and fn.__module__ == "__main__"):
        pickled = dump_by_reference(fn)
        if pickled is not None:
            return pickled
    return _dump_by_value(fn) if isinstance(fn, types.FunctionType) else cloud_dumps(fn)


# --- the cache of pickles by value


class _Function:
    """All that a pickle by value shows of one function."""

    __slots__ = ("code", "defaults", "fn_globals", "identity", "kwdefaults", "names", "values")

    def __init__(self, fn: types.FunctionType) -> None:
        self.code = fn.__code__
        self.defaults = fn.__defaults__
        self.kwdefaults = fn.__kwdefaults__
        self.identity = (fn.__module__, fn.__qualname__, fn.__name__, fn.__doc__)
        self.fn_globals = fn.__globals__
        self.names = tuple(sorted(_names(fn.__code__)))
        self.values = [fn.__globals__.get(name, _MISSING) for name in self.names]

    def is_same(self, fn: types.FunctionType) -> bool:
        if (
            fn.__code__ is not self.code
            or fn.__globals__ is not self.fn_globals
            or fn.__defaults__ is not self.defaults
            or fn.__kwdefaults__ is not self.kwdefaults
            or fn.__closure__ is not None
            or fn.__dict__
            or (fn.__module__, fn.__qualname__, fn.__name__, fn.__doc__) != self.identity
        ):
            return False
        find = self.fn_globals.get
        for name, value in zip(self.names, self.values, strict=True):
            if find(name, _MISSING) is not value:
                return False
        return True


class _Kept:
    __slots__ = ("functions", "modules", "pickled")

    def __init__(
        self, functions: list[tuple[types.FunctionType | None, _Function]], modules: int
    ) -> None:
        self.functions = functions
        # How many modules there were, if that matters: cloudpickle names submodules that are there.
        self.modules = modules
        self.pickled = b""

    def is_same(self, fn: types.FunctionType) -> bool:
        if self.modules and self.modules != len(sys.modules):
            return False
        return all(seen.is_same(other or fn) for other, seen in self.functions)


_kept: OrderedDict[int, _Kept] = OrderedDict()
_lock = Lock()


def _dump_by_value(fn: types.FunctionType) -> bytes:
    # Two functions made at the same place, without closure, have the same code.
    key = id(fn.__code__)
    kept = _kept.get(key)
    if kept is not None and kept.is_same(fn) and not sends_by_value():
        return kept.pickled
    fresh = _examine(fn)
    pickled = cloud_dumps(fn)
    # What it refers to may have changed in between, by another thread.
    if fresh is not None and len(pickled) <= _KEPT_BYTES_MAX and fresh.is_same(fn):
        fresh.pickled = pickled
        with _lock:
            _kept[key] = fresh
            while len(_kept) > _KEPT_MAX:
                _kept.popitem(last=False)
    return pickled


def _examine(root: types.FunctionType) -> _Kept | None:
    """What has to stay the same for the pickle to stay the same; None: too much could change."""
    if sends_by_value():
        return None
    seen: dict[int, types.FunctionType] = {id(root): root}
    open_ends = [root]
    functions: list[tuple[types.FunctionType | None, _Function]] = []
    has_package = False
    while open_ends:
        fn = open_ends.pop()
        if fn.__closure__ is not None or fn.__dict__ or fn.__kwdefaults__:
            return None
        if not _is_fixed(fn.__defaults__) or not _are_fixed_annotations(fn):
            return None
        state = _Function(fn)
        functions.append((None if fn is root else fn, state))
        if len(functions) > 64:
            return None
        for value in state.values:
            if value is _MISSING or _is_fixed(value) or _is_by_reference(value):
                continue
            if isinstance(value, types.ModuleType):
                if sys.modules.get(value.__name__) is not value or value.__name__ == "__main__":
                    return None
                has_package |= hasattr(value, "__path__")
            elif type(value) is types.FunctionType:
                if id(value) not in seen:
                    seen[id(value)] = value
                    open_ends.append(value)
            else:
                return None
    return _Kept(functions, len(sys.modules) if has_package else 0)


def _names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _is_fixed(value: object) -> bool:
    if type(value) in _ATOMS:
        return True
    return type(value) in (tuple, frozenset) and all(map(_is_fixed, value))  # type: ignore[call-overload]


def _is_by_reference(value: object) -> bool:
    """Whether it is a function or class of a module that is not ours to send."""
    if not isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return False
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    if module is None or module.__name__ == "__main__":
        return False
    found: object = module
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is value


def _are_fixed_annotations(fn: types.FunctionType) -> bool:
    try:
        annotations = fn.__annotations__
    except Exception:
        # They are made when they are asked for, from names that are not there.
        return False
    return all(map(_is_fixed_annotation, annotations.values()))


def _is_fixed_annotation(value: object) -> bool:
    if _is_fixed(value) or _is_by_reference(value):
        return True
    if isinstance(value, (types.GenericAlias, types.UnionType)) or (
        type(value).__module__ == "typing"
    ):
        return all(map(_is_fixed_annotation, _arguments(value)))
    return False


def _arguments(value: object) -> Iterator[object]:
    yield from getattr(value, "__args__", ())


# --- the other end


class _Loaded:
    __slots__ = ("fn", "state")

    def __init__(self, fn: types.FunctionType, state: _Kept) -> None:
        self.fn = fn
        self.state = state


# None: what this pickle stands for must be made anew each time.
_loaded: OrderedDict[bytes, _Loaded | None] = OrderedDict()


def loads(pickled: bytes | memoryview) -> Callable[..., Any]:
    """The function that a pickle stands for.

    A function that was sent by value is made once, if a call of it cannot leave anything behind for
    the next one: it refers to nothing that can change.
    """
    key = bytes(pickled)
    found = _loaded.get(key)
    if found is not None and found.state.is_same(found.fn):
        return found.fn
    fn: Callable[..., Any] = pickle.loads(key)
    if key in _loaded and found is None:
        return fn
    if type(fn) is not types.FunctionType or len(key) > _KEPT_BYTES_MAX or _is_by_reference(fn):
        return fn
    state = _examine(fn)
    with _lock:
        _loaded[key] = _Loaded(fn, state) if state else None
        while len(_loaded) > _KEPT_MAX:
            _loaded.popitem(last=False)
    return fn


def run_chunk(pickled: bytes, calls: list[tuple[Any, ...]]) -> list[Any]:
    """Several calls of one function, in one task."""
    fn = loads(pickled)
    return [fn(*call) for call in calls]
