"""Safetensors files without a second copy in memory: mapped when read, streamed when written."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from audiosep_jax.errors import AudioSepError, CheckpointError, shown

_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "C64": np.dtype(np.complex64),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_LONGEST_NAME = 500


class TensorFile(Mapping[str, np.ndarray]):
    """The tensors of a safetensors file as read-only views of the mapped file, in the order of the file.

    It also has the `shapes` of all tensors and the `metadata` of the header. `advice` is what the error tells
    the user to do.

    Raises:
      AudioSepError: of `kind`: the file cannot be read, is damaged, or holds a type that NumPy does not have.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        kind: type[AudioSepError] = CheckpointError,
        advice: str = "get the file again",
    ) -> None:
        path = Path(path)
        try:
            with safe_open(path, framework="numpy"):
                pass  # it checks that the tensors lie inside the file and beside each other
            with path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(size))
            content = np.memmap(path, np.uint8, "r").view(np.ndarray)
            self.metadata: dict[str, str] = header.pop("__metadata__", {})
            check_names(header, where=path, kind=kind)
            self._tensors = {}
            for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
                if entry["dtype"] not in _DTYPES:
                    raise kind(f"{path}: {name} is of type {shown(entry['dtype'])}, which is not supported.")
                start, stop = (8 + size + offset for offset in entry["data_offsets"])
                values = content[start:stop].view(_DTYPES[entry["dtype"]])
                self._tensors[name] = values.reshape(entry["shape"])
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise kind(f"{path} is damaged or not a safetensors file ({shown(error)}): {advice}.") from error
        self.shapes: dict[str, tuple[int, ...]] = {n: value.shape for n, value in self._tensors.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def check_names(
    names: Iterable[object], *, where: str | Path, kind: type[AudioSepError] = CheckpointError
) -> None:
    """Checks that tensor names are short and printable, because errors show them in a terminal.

    Raises:
      AudioSepError: of `kind`: a name is not.
    """
    for name in names:
        if not isinstance(name, str):
            raise kind(f"{where} has a tensor whose name is not text: get the file from its publisher.")
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise kind(
                f"{where} has a tensor with the name {shown(repr(name))}, which no model has: get the "
                "file from its publisher."
            )


def write(path: str | Path, tensors: Mapping[str, np.ndarray], *, metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file one tensor at a time; the library's `save_file` first copies them all.

    An existing file is replaced; a failed write leaves half a file there. The tensors, of types that
    safetensors has, keep their order, but larger types go before smaller ones.

    Raises:
      OSError: the file cannot be written.
    """
    # As in the library: every tensor is aligned.
    names = sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    start = 0
    for name in names:
        tensor = tensors[name]
        stop = start + tensor.dtype.itemsize * math.prod(tensor.shape)
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, stop],
        }
        start = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in names:
            file.write(raw(tensors[name]))


def raw(tensor: np.ndarray) -> memoryview:
    """Returns a tensor's bytes in C order; copies it only if its order is another."""
    return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data
