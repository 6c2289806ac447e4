"""`manifest.json`: content, use, origin and expiry of an export."""

import calendar
import datetime
import hashlib
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import jax
import numpy as np

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.export.folder import KIND
from audiosep_jax.export.functions import Function, Tensor, frames
from audiosep_jax.models.masking import SMALLEST_POWER
from audiosep_jax.utils.serialization import to_dict

VERSION = 1
_VALID_MONTHS = 6

_CALLS = {
    "stablehlo": "jax.jit(jax.export.deserialize(bytearray(file)).call)(signal, condition), float32 arrays; "
    "run.py does it. JAX promises to load the file for six months, in versions that are newer than "
    "versions.jax by at most that or older by at most three weeks.",
    "onnx": "onnxruntime.InferenceSession(file).run(None, {name: array}), float32 arrays; run.py does it.",
    "safetensors": "audiosep_jax.load(folder); the tensors are the checkpoint's own, BatchNorm not folded.",
}


def build(
    folder: Path,
    *,
    export_format: str,
    config: ExperimentConfig,
    variables: dict[str, Any],
    functions: list[Function],
    samples: int,
    checkpoint: str,
    tower: dict[str, str] | None,
    fingerprint: str | None,
    created: datetime.datetime,
) -> dict[str, Any]:
    """Returns the manifest of a folder after all its other files have been written.

    The config is that of the checkpoint's file. `samples` is the length of the window, `checkpoint` the
    origin of the model. `tower` holds the hash of every file of the checkpoint's tower, or is None without
    one; `fingerprint` is that of the query encoder, if it could be loaded. `created` has a time zone.
    """
    model = config.model
    tensors = parameter_hashes(variables)
    signature = {
        function.name: {
            "file": f"{function.name}.{export_format}",
            "inputs": [_tensor(one) for one in function.inputs],
            "outputs": [_tensor(function.output)],
        }
        for function in functions
    }
    expires = _months_later(created, _VALID_MONTHS) if export_format == "stablehlo" else None
    return {
        "kind": KIND,
        "manifest_version": VERSION,
        "format": export_format,
        "name": config.name,
        "created": created.isoformat(timespec="seconds"),
        "expires": expires.isoformat(timespec="seconds") if expires else None,
        "call": _CALLS[export_format],
        "functions": signature,
        "audio": {
            "sample_rate_hz": model.sample_rate_hz,
            "channels": 1,
            "window_samples": samples,
            "window_seconds": samples / model.sample_rate_hz,
        },
        "stft": {
            "window": "hann, periodic",
            "window_length": model.window_length,
            "hop_length": model.hop_length,
            "centred": True,
            "padding": "reflect, half a window at both ends",
            "frames": frames(model, samples),
            "bins": model.window_length // 2 + 1,
            "magnitude": f"sqrt(max(real² + imag², {SMALLEST_POWER:g}))",
            "inverse": "windowed overlap-add, divided by the sum of squared windows",
        },
        "mask": {
            "channels": ["magnitude", "cosine", "sine"],
            "use": "estimate spectrogram = mixture spectrogram · magnitude · (cosine + i·sine)",
        },
        "query": {
            "encoder": config.query.encoder,
            "source": config.query.source,
            "condition_size": model.condition_size,
            "fingerprint": fingerprint,
            "tower": tower,
        },
        "config": to_dict(config),
        "checkpoint": checkpoint,
        "parameters": {
            "count": sum(int(np.size(leaf)) for leaf in jax.tree.leaves(variables["params"])),
            "batchnorm": "as trained" if export_format == "safetensors" else "folded",
            "sha256": combined_hash(tensors),
            "tensors": tensors,
        },
        "files": {
            path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_hash(path)}
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
        "versions": versions(export_format),
    }


def parameter_hashes(variables: dict[str, Any]) -> dict[str, str]:
    """Returns the SHA-256 of every tensor's little-endian float32 bytes, by its name in the checkpoint."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(dict(variables))
    return {
        ".".join(part.key for part in path): hashlib.sha256(
            np.ascontiguousarray(leaf, "<f4").tobytes()
        ).hexdigest()
        for path, leaf in leaves
    }


def combined_hash(tensors: dict[str, str]) -> str:
    """Returns one SHA-256 for all tensors: that of the sorted lines "name hash"."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(tensors.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_hashes(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in files}


def versions(export_format: str) -> dict[str, str]:
    """Returns the versions of the packages that make an export."""
    packages = ["audiosep_jax", "jax", "jaxlib", "numpy"]
    packages += {"onnx": ["onnx"], "safetensors": ["safetensors"]}.get(export_format, [])
    found = {name: importlib.metadata.version(name) for name in packages}
    found["python"] = platform.python_version()
    if export_format == "onnx":
        from audiosep_jax.export.onnx_graph import OPSET

        found["opset"] = str(OPSET)
    return found


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "shape": ["batch", *tensor.shape], "dtype": "float32"}


def _months_later(date: datetime.datetime, months: int) -> datetime.datetime:
    years, month = divmod(date.month - 1 + months, 12)
    year, month = date.year + years, month + 1
    return date.replace(year=year, month=month, day=min(date.day, calendar.monthrange(year, month)[1]))
