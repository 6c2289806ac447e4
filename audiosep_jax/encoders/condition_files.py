"""Files of conditions: each holds those of some captions and one encoder, and never changes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audiosep_jax.encoders.base import QueryEncoder
from audiosep_jax.utils import safetensors_file
from audiosep_jax.utils.atomic import replacing

CAPTIONS_PER_FILE = 8192
"""Most captions in a file that `store` writes."""


class BrokenFileError(Exception):
    """A file of conditions is damaged."""


def found(folder: Path, encoder: QueryEncoder) -> list[Path]:
    """Returns an encoder's files in a folder."""
    return sorted(folder.glob(f"{_stem(encoder)}*.safetensors"))


def found_of_others(folder: Path, encoder: QueryEncoder) -> list[Path]:
    """Returns the files of other encoders in a folder."""
    return sorted(set(folder.glob("conditions-*.safetensors")) - set(found(folder, encoder)))


def path_of(folder: Path, encoder: QueryEncoder, captions: Sequence[str]) -> Path:
    """Returns the path of the file for these captions."""
    name = hashlib.sha256(repr(list(captions)).encode()).hexdigest()[:12]
    return folder / f"{_stem(encoder)}-{name}.safetensors"


def write(folder: Path, encoder: QueryEncoder, captions: Sequence[str], rows: np.ndarray) -> Path:
    """Writes the conditions `[captions, size]` of at least one caption to a file; creates the folder.

    Raises:
      StorageError: the file cannot be written.
    """
    texts = [caption.encode() for caption in captions]
    # Captions are stored as a tensor of bytes, because the header of a safetensors file has a size limit.
    tensors = {
        "captions": np.frombuffer(b"".join(texts), np.uint8),
        "ends": np.cumsum([len(text) for text in texts], dtype=np.int64),
        "conditions": np.ascontiguousarray(rows, np.float32),
    }
    path = path_of(folder, encoder, captions)
    with replacing(path, advice="make room, or give another folder") as temporary:
        safetensors_file.write(temporary, tensors, metadata={"fingerprint": encoder.fingerprint})
    return path


def read(path: Path, encoder: QueryEncoder) -> dict[str, np.ndarray]:
    """Returns the conditions of a file by caption; an empty dict if the file is of another encoder.

    Raises:
      FileNotFoundError: the file does not exist.
      BrokenFileError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("fingerprint") != encoder.fingerprint:
                return {}
            tensors = {name: file.get_tensor(name) for name in ("captions", "ends", "conditions")}
        text, ends, conditions = tensors["captions"].tobytes(), tensors["ends"], tensors["conditions"]
        if conditions.shape != (len(ends), encoder.condition_size) or not np.isfinite(conditions).all():
            raise ValueError(f"conditions of shape {conditions.shape}, or values that are not finite")
        starts = [0, *ends[:-1].tolist()]
        captions = [text[start:end].decode() for start, end in zip(starts, ends.tolist(), strict=True)]
        return dict(zip(captions, np.asarray(conditions, np.float32), strict=True))
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError, ValueError) as error:
        raise BrokenFileError(str(error)) from error


def store(folder: Path, encoder: QueryEncoder, captions: Sequence[str]) -> list[Path]:
    """Computes and writes the conditions of a dataset's captions, in any order; returns the files.

    A call that was interrupted resumes after the last file that it wrote; the files are the same.

    Raises:
      QueryError: a caption is empty.
      StorageError: a file cannot be written.
    """
    ordered = sorted(set(captions))
    paths = []
    for start in range(0, len(ordered), CAPTIONS_PER_FILE):
        part = ordered[start : start + CAPTIONS_PER_FILE]
        path = path_of(folder, encoder, part)
        if not path.exists():
            write(folder, encoder, part, encoder.encode(part))
        paths.append(path)
    return paths


def _stem(encoder: QueryEncoder) -> str:
    return f"conditions-{encoder.fingerprint[:16]}"
