"""Conditions computed once per caption, kept in memory and in a file."""

import contextlib
import os
import secrets
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from audiosep_jax.errors import AudioSepError
from audiosep_jax.query.encoder import QueryEncoder


class ConditionCache:
    """The conditions of one encoder.

    The file's name and its metadata carry the encoder's fingerprint, so conditions of two encoders can
    share a folder and never meet. A file is replaced as a whole: a reader always sees a complete one. Of
    two processes that write at the same moment both keep their conditions in memory, and the later one's
    file stays; what it lacks is computed again when it is next needed.
    """

    def __init__(self, encoder: QueryEncoder, *, folder: str | Path | None = None) -> None:
        """Makes a cache.

        Args:
          encoder: computes what is missing.
          folder: where the file lies or will lie; None keeps conditions in memory only.
        """
        self._encoder = encoder
        self._rows: dict[str, np.ndarray] = {}
        self.path: Path | None = None
        self._version: tuple[int, ...] | None = None
        if folder is not None:
            self.path = Path(folder) / f"conditions-{encoder.fingerprint[:16]}.safetensors"
            self._rows = self._read()

    def conditions(self, captions: Sequence[str]) -> Float[np.ndarray, "n size"]:
        """Returns one float32 condition per caption, in the order of the captions.

        Give many captions at once: those that are missing are computed in batches and written in one go.

        Raises:
          AudioSepError: a caption is empty, or the file cannot be written.
        """
        if isinstance(captions, str):
            raise AudioSepError(f"conditions takes a list of captions: give [{captions!r}].")
        missing = [caption for caption in dict.fromkeys(captions) if caption not in self._rows]
        if missing:
            self._rows.update(zip(missing, self._encoder.encode(missing), strict=True))
            self._write()
        conditions = np.empty((len(captions), self._encoder.condition_size), np.float32)
        for place, caption in enumerate(captions):
            conditions[place] = self._rows[caption]
        return conditions

    def _read(self) -> dict[str, np.ndarray]:
        """Returns what the file holds: nothing if it is absent, broken or another encoder's."""
        from safetensors import SafetensorError, safe_open

        if self.path is None or not self.path.exists():
            return {}
        try:
            self._version = _version(self.path)
            with safe_open(self.path, framework="numpy") as file:
                if (file.metadata() or {}).get("fingerprint") != self._encoder.fingerprint:
                    return {}
                tensors = {name: file.get_tensor(name) for name in ("captions", "ends", "conditions")}
            text, ends, conditions = tensors["captions"].tobytes(), tensors["ends"], tensors["conditions"]
            if (
                conditions.shape != (len(ends), self._encoder.condition_size)
                or not np.isfinite(conditions).all()
            ):
                raise ValueError(f"conditions of shape {conditions.shape}, or values that are not finite")
            starts = [0, *ends[:-1].tolist()]
            captions = [text[start:end].decode() for start, end in zip(starts, ends.tolist(), strict=True)]
            return dict(zip(captions, np.asarray(conditions, np.float32), strict=True))
        except (OSError, SafetensorError, ValueError) as error:
            warnings.warn(f"{self.path} is broken and will be written anew ({error}).", stacklevel=4)
            return {}

    def _write(self) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        if self.path is None:
            return
        try:
            known = _version(self.path)
        except OSError:
            known = None
        if known not in (None, self._version):
            # Another process has written since: what it has computed stays.
            self._rows = {**self._read(), **self._rows}
        captions = [caption.encode() for caption in self._rows]
        # Captions travel as bytes, because the header of a safetensors file has a size limit.
        tensors = {
            "captions": np.frombuffer(b"".join(captions), np.uint8),
            "ends": np.cumsum([len(caption) for caption in captions], dtype=np.int64),
            "conditions": np.stack(list(self._rows.values())),
        }
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, temporary, metadata={"fingerprint": self._encoder.fingerprint})
            self._version = _version(temporary)
            os.replace(temporary, self.path)
        except (OSError, SafetensorError) as error:
            raise AudioSepError(
                f"{self.path} cannot be written ({error}): make room, or give another folder."
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _version(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
