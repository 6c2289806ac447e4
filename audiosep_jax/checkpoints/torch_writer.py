"""Writes the format of `torch.save` without PyTorch: a zip archive of a pickle and one entry per tensor."""

import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from audiosep_jax.checkpoints.torch_file import STORAGES
from audiosep_jax.errors import CheckpointError
from audiosep_jax.utils.safetensors_file import raw

_ALIGNMENT = 64
_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"  # an empty one

_TYPES = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_STORAGES = {np.dtype(STORAGES[f"{name}Storage"]): f"{name}Storage" for name in _TYPES}


def lightning_checkpoint(state_dict: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the dict that Lightning loads: a state dict, without training state."""
    return {
        "epoch": 0,
        "global_step": 0,
        # The release of the reference's training; without a version Lightning would migrate the file.
        "pytorch-lightning_version": "2.1.0",
        "state_dict": OrderedDict(state_dict),
        "loops": {},
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
    }


def write(path: str | Path, content: Any) -> None:
    """Writes dicts, lists, tuples, numbers, texts, None, and arrays, which become tensors, for `torch.load`.

    Tensors are written one at a time. An existing file is replaced; a failed write leaves half a file there.

    Raises:
      OSError: the file cannot be written.
      CheckpointError: PyTorch lacks the type of a tensor.
    """
    pickle = _Pickle()
    pickle.add(content)
    entries: list[tuple[str, Any]] = [
        ("data.pkl", bytes(pickle.data + b".")),
        (".format_version", b"1"),
        (".storage_alignment", str(_ALIGNMENT).encode()),
        ("byteorder", b"little"),
        *((f"data/{index}", tensor) for index, tensor in enumerate(pickle.tensors)),
        ("version", b"3\n"),
    ]
    with open(path, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, value in entries:
            entry = zipfile.ZipInfo(f"archive/{name}")  # with the same date in every file
            size = value.nbytes if isinstance(value, np.ndarray) else len(value)
            header = 30 + len(entry.filename) + (20 if size * 1.05 > zipfile.ZIP64_LIMIT else 0)
            padding = -(file.tell() + header + 4) % _ALIGNMENT
            # PyTorch pads with an extra field "FB".
            entry.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
            entry.file_size = size
            with archive.open(entry, "w") as target:
                target.write(raw(value) if isinstance(value, np.ndarray) else value)


class _Pickle:
    """Protocol 2, operation by operation (see Python's pickletools), without the memo."""

    def __init__(self) -> None:
        self.data = bytearray(b"\x80\x02")
        self.tensors: list[np.ndarray] = []

    def add(self, value: Any) -> None:
        if isinstance(value, np.ndarray):
            self._tensor(value)
        elif isinstance(value, dict):
            self.data += (_ORDERED_DICT if isinstance(value, OrderedDict) else b"}") + b"("
            for key, item in value.items():
                self.add(key)
                self.add(item)
            self.data += b"u"
        elif isinstance(value, list):
            self.data += b"]("
            for item in value:
                self.add(item)
            self.data += b"e"
        elif isinstance(value, tuple):
            self._tuple(value)
        else:
            self._scalar(value)

    def _scalar(self, value: Any) -> None:
        if value is None:
            self.data += b"N"
        elif isinstance(value, bool):
            self.data += b"\x88" if value else b"\x89"
        elif isinstance(value, int):
            if 0 <= value < 256:
                self.data += b"K" + bytes([value])
            elif 0 <= value < 1 << 16:
                self.data += b"M" + struct.pack("<H", value)
            elif -(1 << 31) <= value < 1 << 31:
                self.data += b"J" + struct.pack("<i", value)
            else:
                encoded = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
                self.data += b"\x8a" + bytes([len(encoded)]) + encoded
        elif isinstance(value, float):
            self.data += b"G" + struct.pack(">d", value)
        elif isinstance(value, str):
            encoded = value.encode()
            self.data += b"X" + struct.pack("<I", len(encoded)) + encoded
        else:
            raise TypeError(f"{type(value).__name__} cannot be written to a PyTorch file")

    def _tuple(self, value: tuple) -> None:
        self.data += b"(" if len(value) > 3 else b""
        for item in value:
            self.add(item)
        self.data += (b")", b"\x85", b"\x86", b"\x87", b"t")[min(len(value), 4)]

    def _tensor(self, tensor: np.ndarray) -> None:
        if tensor.dtype not in _STORAGES:
            raise CheckpointError(f"a tensor of type {tensor.dtype} has no counterpart in PyTorch.")
        self.data += b"ctorch._utils\n_rebuild_tensor_v2\n(("
        self.add("storage")
        self.data += f"ctorch\n{_STORAGES[tensor.dtype]}\n".encode()
        self.add(str(len(self.tensors)))
        self.add("cpu")
        self.add(tensor.size)
        self.data += b"tQK\x00"
        strides = [1] * tensor.ndim
        for axis in reversed(range(tensor.ndim - 1)):
            strides[axis] = strides[axis + 1] * max(tensor.shape[axis + 1], 1)
        self._tuple(tensor.shape)
        self._tuple(tuple(strides))
        self.data += b"\x89" + _ORDERED_DICT + b"tR"
        self.tensors.append(tensor)
