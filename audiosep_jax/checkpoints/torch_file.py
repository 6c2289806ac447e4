"""Reads files of `torch.save` as memory maps: tensors and plain values, without executing anything."""

import dataclasses
import struct
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from audiosep_jax.checkpoints.torch_pickle import Builder, DamagedPickleError, load
from audiosep_jax.errors import AudioSepError, CheckpointError, shown

_DAMAGE = (
    OSError,
    EOFError,
    NotImplementedError,  # a zip file of a later version
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    DamagedPickleError,
)

# Enough for 50,000 tensors; a larger one would take minutes.
_LARGEST_PICKLE = 8 << 20
# Weights compress to nine tenths; an entry that shrinks more than this was made to fill the memory.
_LARGEST_EXPANSION = 50
# PyTorch numbers storages.
_LONGEST_KEY = 100
# The limit of NumPy.
_MOST_AXES = 32

STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
    "ComplexFloatStorage": np.complex64,
    "ComplexDoubleStorage": np.complex128,
    "UntypedStorage": np.uint8,
}
# Types by their names in torch: NumPy's names, and others. ml_dtypes registers bfloat16 and float8.
_DTYPES = {
    name: np.dtype(name)
    for name in (
        *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"),
        *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
        *("bool", "complex64", "complex128"),
    )
}
_DTYPES |= {"double": _DTYPES["float64"], "float": _DTYPES["float32"], "half": _DTYPES["float16"]}
_DTYPES |= {"long": _DTYPES["int64"], "int": _DTYPES["int32"], "short": _DTYPES["int16"]}


@dataclasses.dataclass(frozen=True, eq=False)
class TorchTensor:
    """A tensor that has not been read from its file yet; bfloat16 and float8 are those of ml_dtypes."""

    shape: tuple[int, ...]
    dtype: np.dtype
    _strides: tuple[int, ...]
    _start: int
    _stop: int
    _storage: "_Storage"

    def read(self) -> np.ndarray:
        """Returns the values, read-only: a view of the mapped file, or a copy if it is compressed.

        Raises:
          CheckpointError: the file is damaged.
        """
        size = self.dtype.itemsize
        elements = self._storage.read()[self._start * size : self._stop * size].view(self.dtype)
        strides = tuple(step * size for step in self._strides)
        return np.lib.stride_tricks.as_strided(elements, self.shape, strides, writeable=False)


def read(path: str | Path) -> Any:
    """Reads a file that `torch.save` of PyTorch 1.6 or newer wrote.

    Dicts, lists, tuples, numbers and texts are returned as they are, tensors as `TorchTensor`; objects of
    Lightning and NumPy become placeholders without content. Nothing that the file names is imported or
    called.

    Raises:
      CheckpointError: the file is missing, damaged, of another format, or names anything but tensors and the
        classes that training frameworks are known to write.
    """
    path = Path(path)
    try:
        return _File(path).object
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist.") from None
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    except (MemoryError, RecursionError) as error:
        raise CheckpointError(
            f"{path} describes more than fits into the memory: it may be an attack; get the file from its "
            "publisher."
        ) from error


def _damaged(path: Path, error: Exception) -> AudioSepError:
    return CheckpointError(f"{path} is damaged or cut short ({shown(error)}): get the file again.")


class _File:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = np.memmap(path, np.uint8, "r")
        with zipfile.ZipFile(path) as archive:
            self.end = archive.start_dir
            entries = archive.infolist()
            self.entries = {entry.filename: entry for entry in entries}
        if len(self.entries) < len(entries):
            raise DamagedPickleError("two entries have one name")
        roots = [name[: -len("data.pkl")] for name in self.entries if name.endswith("/data.pkl")]
        if len(roots) != 1 or roots[0].count("/") != 1:
            raise CheckpointError(f"{path} is a zip archive, but not one that torch.save wrote.")
        (self.root,) = roots
        if f"{self.root}constants.pkl" in self.entries:
            raise CheckpointError(
                f"{path} is a TorchScript program: give the checkpoint that was saved with torch.save."
            )
        order = f"{self.root}byteorder"
        if order in self.entries and self.entry(order, largest=100).tobytes().strip() != b"little":
            raise CheckpointError(
                f"{path} was written on a big-endian machine: save it again on a little-endian one."
            )
        self.storages: dict[str, _Storage] = {}
        self.object = load(
            self.entry(f"{self.root}data.pkl", largest=_LARGEST_PICKLE).tobytes(),
            known=_KNOWN,
            persistent=self.storage,
            where=str(path),
        )

    def storage(self, persistent_id: Any) -> "_Storage":
        kind, storage_type, key, _, count = persistent_id
        if kind != "storage" or not isinstance(storage_type, np.dtype) or not isinstance(key, str):
            raise DamagedPickleError("an unknown persistent id")
        if len(key) > _LONGEST_KEY:
            raise DamagedPickleError("a storage whose name is too long")
        name = f"{self.root}data/{key}"
        if name not in self.entries or not _is_size(count):
            raise DamagedPickleError(f"there is no storage {key!r}")
        if self.entries[name].file_size < count * storage_type.itemsize:
            raise DamagedPickleError(f"storage {key} is shorter than it should be")
        if key not in self.storages:
            self.storages[key] = _Storage(self, name, self.entries[name].file_size, storage_type)
        return dataclasses.replace(self.storages[key], dtype=storage_type)

    def entry(self, name: str, *, largest: int | None = None) -> np.ndarray:
        """Returns the bytes of one archive entry, checked against its checksum."""
        entry = self.entries[name]
        start = entry.header_offset
        header = self.bytes[start : start + 30].tobytes()
        signature, flags, method, size_name, size_extra = struct.unpack("<4s2xHH16xHH", header)
        start += 30 + size_name + size_extra
        stop = start + entry.compress_size
        if signature != b"PK\x03\x04" or flags & 1 or method != entry.compress_type or stop > self.end:
            raise DamagedPickleError(f"entry {name!r} lies outside of the archive")
        if largest is not None and entry.file_size > largest:
            raise DamagedPickleError(f"entry {name!r} has {entry.file_size} bytes")
        content = self.bytes[start:stop]
        if method == zipfile.ZIP_DEFLATED:
            if entry.file_size > _LARGEST_EXPANSION * max(entry.compress_size, 1 << 10):
                raise DamagedPickleError(f"entry {name!r} expands to far more than its size")
            expand = zlib.decompressobj(-15)
            content = np.frombuffer(expand.decompress(content.data, entry.file_size + 1), np.uint8)
        elif method != zipfile.ZIP_STORED:
            raise DamagedPickleError(f"entry {name!r} is compressed in an unknown way")
        # PyTorch writes 0 if it was told to compute no checksum.
        if content.size != entry.file_size or (entry.CRC and zlib.crc32(content.data) != entry.CRC):
            raise DamagedPickleError(f"entry {name!r} does not match its checksum")
        return content


@dataclasses.dataclass(frozen=True, eq=False)
class _Storage:
    file: _File
    name: str
    size: int
    dtype: np.dtype
    _content: list[np.ndarray] = dataclasses.field(default_factory=list)

    def read(self) -> np.ndarray:
        if not self._content:  # shared by the views of one storage
            try:
                self._content.append(self.file.entry(self.name))
            except _DAMAGE as error:
                raise _damaged(self.file.path, error) from error
        return self._content[0]


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *_: Any, dtype: np.dtype | None = None
) -> TorchTensor:
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise DamagedPickleError("a tensor without storage or shape")
    if len(shape) != len(strides) or len(shape) > _MOST_AXES:
        raise DamagedPickleError("a tensor with too many axes, or without a stride for each")
    # Checked before an error shows them: a nested tuple of 60 bytes may take more than the memory to print.
    if not all(map(_is_size, (offset, *shape, *strides))):
        raise DamagedPickleError("a tensor whose shape, strides or offset are not sizes")
    dtype = dtype or storage.dtype
    elements = 1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if 0 in shape:
        elements, strides, offset = 0, (0,) * len(shape), 0
    if (offset + elements) * dtype.itemsize > storage.size:
        raise DamagedPickleError(f"a tensor of shape {shape} reaches beyond its storage")
    # Sorted by stride, every axis must step over the axes before it; else elements would share a value.
    reach = 0
    for step, size in sorted((step, size) for size, step in zip(shape, strides, strict=True) if size > 1):
        if elements and step <= reach:
            raise DamagedPickleError(f"a tensor of shape {shape} with strides {strides} overlaps itself")
        reach += (size - 1) * step
    return TorchTensor(shape, dtype, strides, offset, offset + elements, storage)


def _typed_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any, _hooks: Any, dtype: Any, *_: Any
) -> TorchTensor:
    if not isinstance(dtype, np.dtype):
        raise DamagedPickleError("a tensor without type")
    return _tensor(storage, offset, shape, strides, dtype=dtype)


def _parameter(data: Any, *_: Any) -> TorchTensor:
    if not isinstance(data, TorchTensor):
        raise DamagedPickleError("a parameter that is not a tensor")
    return data


def _ordered_dict(*pairs: Any) -> "OrderedDict[str, Any]":
    if pairs and pairs != ([],):
        raise DamagedPickleError("an ordered dict with unusual arguments")
    return OrderedDict()


def _size(*dimensions: Any) -> tuple:
    if len(dimensions) != 1 or not isinstance(dimensions[0], list | tuple) or len(dimensions[0]) > _MOST_AXES:
        raise DamagedPickleError("a size with unusual arguments")
    return tuple(dimensions[0])


def _subclass(function: Any, _kind: Any, arguments: Any, _state: Any) -> Any:
    if not isinstance(function, Builder) or not isinstance(arguments, tuple) or len(arguments) > _MOST_AXES:
        raise DamagedPickleError("a tensor of an unknown class")
    return function.build(*arguments)


_KNOWN: dict[str, Any] = {
    "collections.OrderedDict": Builder(_ordered_dict),
    "torch.Size": Builder(_size),
    "torch._utils._rebuild_tensor": Builder(_tensor),
    "torch._utils._rebuild_tensor_v2": Builder(_tensor),
    "torch._utils._rebuild_tensor_v3": Builder(_typed_tensor),
    "torch._utils._rebuild_parameter": Builder(_parameter),
    "torch._utils._rebuild_parameter_with_state": Builder(_parameter),
    "torch._tensor._rebuild_from_type_v2": Builder(_subclass),
    **{f"torch.{name}": np.dtype(kind) for name, kind in (STORAGES | _DTYPES).items()},
    **{f"torch.storage.{name}": np.dtype(kind) for name, kind in STORAGES.items()},
}
