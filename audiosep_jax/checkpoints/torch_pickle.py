"""Reads a pickle without executing anything: a small machine with a fixed list of names."""

import dataclasses
import pickletools
import re
from collections.abc import Callable, Mapping
from typing import Any

from audiosep_jax.errors import AudioSepError, CheckpointError, listed, shown


@dataclasses.dataclass(frozen=True, eq=False)
class Builder:
    """A function of this project that is called where the pickle names one of its own."""

    build: Callable[..., Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Inert:
    """Replaces an object of a known class that is not needed. It has no behaviour."""

    name: str


class DamagedPickleError(Exception):
    """The bytes are not a pickle that this machine understands."""


# Names that Lightning, its loggers and NumPy leave beside the weights. They become `Inert`.
_CLASSES = """
argparse.Namespace
pathlib.Path pathlib.PosixPath pathlib.WindowsPath pathlib._local.PosixPath pathlib._local.WindowsPath
pathlib.PurePath pathlib.PurePosixPath pathlib.PureWindowsPath
datetime.date datetime.datetime datetime.timedelta uuid.UUID typing.Any
collections.Counter collections.defaultdict collections.deque
numpy.ndarray numpy.dtype numpy.core.multiarray.scalar numpy._core.multiarray.scalar
numpy.core.multiarray._reconstruct numpy._core.multiarray._reconstruct
_codecs.encode copyreg._reconstructor copy_reg._reconstructor
torch.device torch.Generator torch.serialization._get_layout
"""
_BUILT_IN = (
    "object int long float complex str unicode bytes bytearray list tuple dict set frozenset slice range"
)
_HARMLESS = {
    *_CLASSES.split(),
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _BUILT_IN.split()),
}
# Classes only: functions begin with a small letter, and a dot in the name would reach into another module.
_HARMLESS_CLASSES = re.compile(
    r"(pytorch_lightning|lightning|lightning_fabric|lightning_utilities|torchmetrics|omegaconf)"
    r"(\.[a-z_]\w*)*\.[A-Z]\w*"
)

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_FRESH: dict[str, Callable[[], Any]] = {
    **{"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict},
    "EMPTY_SET": lambda: Inert("builtins.set"),
    "BYTEARRAY8": lambda: Inert("builtins.bytearray"),
}
_SCALARS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_KEY_TYPES = (str, int, float, bytes, type(None), Inert)

# A pickle can refer to one object many times, so that a small file describes a huge one. These limits keep
# everything short that is walked or copied. Training frameworks stay far below them.
_LONGEST_KEY = 4
_MOST_ARGUMENTS = 32
_LONGEST_NAME = 300


def load(data: bytes, *, known: Mapping[str, Any], persistent: Callable[[tuple], Any], where: str) -> Any:
    """Returns the object that a pickle describes.

    Python's own unpickler imports and calls what the file names. This one imports nothing: it looks a name up
    in `known` (a `Builder` there may be called), makes it an `Inert` if training frameworks are known to
    leave that class in checkpoints, and otherwise refuses the file. `persistent` turns a persistent id into a
    value.

    Raises:
      CheckpointError: the file, which the text calls `where`, uses other names.
      DamagedPickleError: the pickle is incomplete or damaged.
    """
    machine = _Machine(known, persistent)
    try:
        result = machine.run(data)
    except AudioSepError:
        raise
    except Exception as error:  # a hostile file can provoke any error
        machine.raise_if_refused(where)
        raise DamagedPickleError(shown(f"{type(error).__name__}: {error}")) from error
    machine.raise_if_refused(where)
    return result


def _is_plain(key: Any) -> bool:
    return isinstance(key, _KEY_TYPES) and not (isinstance(key, int) and key.bit_length() > 64)


class _Machine:
    def __init__(self, known: Mapping[str, Any], persistent: Callable[[tuple], Any]) -> None:
        self.known = known
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.refused: dict[str, None] = {}

    def raise_if_refused(self, where: str) -> None:
        if self.refused:
            raise CheckpointError(
                f"{where} was not read, because it asks for {listed(map(shown, self.refused))}: weights need "
                "no such thing, so it may be an attack; get the file from its publisher, as safetensors if "
                "possible."
            )

    def run(self, data: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name in _SCALARS:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _FRESH:
                self.stack.append(_FRESH[name]())
            elif name in _TUPLES:
                self._tuple(_TUPLES[name])
            elif name == "STOP":
                (result,) = self.stack
                return result
            elif name != "FRAME":
                handler = getattr(self, f"_op_{name.lower()}", None)
                if handler is None:
                    raise DamagedPickleError(f"operation {name}")
                handler(argument)
        raise DamagedPickleError("no end")

    def _find(self, module: Any, name: Any) -> Any:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise DamagedPickleError("a name that is not text")
        if len(module) + len(name) > _LONGEST_NAME:
            raise DamagedPickleError("a name that is too long for a class")
        full = f"{module}.{name}"
        if full in self.known:
            return self.known[full]
        if full not in _HARMLESS and not _HARMLESS_CLASSES.fullmatch(full):
            self.refused[full] = None
        return Inert(full)

    def _call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(arguments, tuple | list) or len(arguments) > _MOST_ARGUMENTS:
            if isinstance(function, Builder):
                raise DamagedPickleError("a call with too many arguments")
            arguments = ()
        if isinstance(function, Builder):
            return function.build(*arguments)
        if isinstance(function, Inert):
            return Inert(function.name)
        raise DamagedPickleError(f"a call of {type(function).__name__}")

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        if len(self.stack) < start:
            raise DamagedPickleError("a mark without values")
        del self.stack[start:]
        return values

    # One method per operation of the pickle protocol, named after it (see Python's pickletools).

    def _op_proto(self, version: int) -> None:
        if version > 5:
            raise DamagedPickleError(f"protocol {version}")

    def _op_mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def _op_pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _op_pop(self, _: Any) -> None:
        self.stack.pop()

    def _op_dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _op_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _op_put(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    _op_binput = _op_long_binput = _op_put

    def _op_get(self, place: int) -> None:
        self.stack.append(self.memo[place])

    _op_binget = _op_long_binget = _op_get

    def _op_list(self, _: Any) -> None:
        self.stack.append(self._since_mark())

    def _op_append(self, _: Any) -> None:
        value = self.stack.pop()
        self._extend(self.stack[-1], [value])

    def _op_appends(self, _: Any) -> None:
        values = self._since_mark()
        self._extend(self.stack[-1], values)

    def _extend(self, target: Any, values: list[Any]) -> None:
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Inert):
            raise DamagedPickleError("values appended to something that is not a list")

    def _op_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._since_mark()))

    def _tuple(self, size: int) -> None:
        if len(self.stack) < size:
            raise DamagedPickleError("an empty stack")
        self.stack[-size:] = [tuple(self.stack[-size:])]

    def _op_dict(self, _: Any) -> None:
        values = self._since_mark()
        self.stack.append({})
        self._set(values)

    def _op_setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _op_setitems(self, _: Any) -> None:
        self._set(self._since_mark())

    def _set(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            return
        if not isinstance(target, dict):
            raise DamagedPickleError("items set in something that is not a dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Hashing a deeply nested tuple overflows the interpreter's stack; the hash of a long tuple or a
            # number with a million digits is computed anew at every use.
            flat = key if isinstance(key, tuple) else (key,)
            if len(flat) > _LONGEST_KEY or not all(map(_is_plain, flat)):
                raise DamagedPickleError("a key of an unusual type")
            target[key] = value

    def _op_additems(self, _: Any) -> None:
        self._since_mark()
        if not isinstance(self.stack[-1], Inert):
            raise DamagedPickleError("items added to something that is not a set")

    def _op_frozenset(self, _: Any) -> None:
        self._since_mark()
        self.stack.append(Inert("builtins.frozenset"))

    def _op_global(self, argument: str) -> None:
        self.stack.append(self._find(*argument.split(" ", 1)))

    def _op_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(self._find(module, name))

    def _op_reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(self._call(function, arguments))

    _op_newobj = _op_reduce

    def _op_newobj_ex(self, _: Any) -> None:
        self.stack.pop()
        self._op_reduce(None)

    def _op_obj(self, _: Any) -> None:
        function, *arguments = self._since_mark()
        self.stack.append(self._call(function, arguments))

    def _op_inst(self, argument: str) -> None:
        arguments = self._since_mark()
        self.stack.append(self._call(self._find(*argument.split(" ", 1)), arguments))

    def _op_build(self, _: Any) -> None:
        # Attributes are dropped: weights have none but the `_metadata` of a state dict.
        self.stack.pop()
        if not isinstance(self.stack[-1], dict | Inert):
            raise DamagedPickleError("a state for an object without attributes")

    def _op_binpersid(self, _: Any) -> None:
        self.stack.append(self.persistent(self.stack.pop()))

    def _op_ext1(self, code: int) -> None:
        self.refused[f"entry {code} of the extension registry"] = None
        self.stack.append(Inert("extension"))

    _op_ext2 = _op_ext4 = _op_ext1
