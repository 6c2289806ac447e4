"""What made a result: a small record beside it, by which it is known again."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import audiosep_jax
from audiosep_jax.atomic import write_json
from audiosep_jax.core import Core
from audiosep_jax.errors import AudioSepError, printable
from audiosep_jax.separating.naming import Result

FOLDER = ".audiosep"


def model_fingerprint(model: Core) -> str:
    """Returns the SHA-256 over a model's weights and config."""
    digest = hashlib.sha256(repr((model.config.model, model.config.query)).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()


class Records:
    """The records of a run.

    Args:
      model: fingerprint of the model.
      options: how is separated.
    """

    def __init__(self, *, model: str, options: Mapping[str, Any]) -> None:
        self._settings = {"version": audiosep_jax.__version__, "model": model, "options": dict(options)}

    def maker(self, result: Result) -> str:
        """Returns a fingerprint of all that a result depends on but the recording.

        Raises:
          AudioSepError: an example of a query cannot be read.
        """
        names = [file.name for file in result.files]
        queries = [each.fingerprint() for each in result.asked]
        text = json.dumps({**self._settings, "queries": queries, "files": names}, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def report(self, result: Result, recording: Path, maker: str) -> dict[str, Any] | None:
        """Returns what was noted of a result; None unless it is there and what would be made again."""
        try:
            record = json.loads(self.path(result).read_text("utf-8"))
            same = record["maker"] == maker and _is(recording, record["recording"])
            files = zip(result.files, record["files"], strict=True)
            return dict(record["report"]) if same and all(_is(*pair) for pair in files) else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):  # none, or a damaged one
            return None

    def forget(self, result: Result) -> None:
        """Removes the record of a result that is about to be made again."""
        self.path(result).unlink(missing_ok=True)

    def note(self, result: Result, recording: "Seen", maker: str, report: Mapping[str, Any]) -> None:
        """Writes the record of a result that is finished, unless the recording has changed meanwhile.

        Raises:
          AudioSepError: it cannot be written, or a result has vanished.
        """
        try:
            if not recording.unchanged():
                return
            files = [_seen(path) for path in result.files]
        except OSError as error:
            raise AudioSepError(
                f"{printable(error.filename)} vanished while it was used: {error.strerror}."
            ) from error
        record = {"maker": maker, "recording": recording.values, "files": files, "report": dict(report)}
        write_json(self.path(result), record)

    def path(self, result: Result) -> Path:
        """Where the record of a result lies."""
        return result.files[0].parent / FOLDER / f"{result.name}.json"


class Seen:
    """A file as it is before it is used.

    Raises:
      AudioSepError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.values = _seen(path)
        except OSError as error:
            raise AudioSepError(
                f"{printable(path)} cannot be read: {os.strerror(error.errno or 0)}."
            ) from error

    def unchanged(self) -> bool:
        """Whether it still is."""
        return _status(self._path).items() <= self.values.items()


def _seen(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {**_status(path), "sha256": digest}


def _status(path: Path) -> dict[str, int]:
    status = path.stat()
    return {
        "bytes": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "changed_ns": status.st_ctime_ns,
        "inode": status.st_ino,
    }


def _is(path: Path, seen: Mapping[str, Any]) -> bool:
    """Whether a file is what was seen: untouched since, or of the same content."""
    status = _status(path)
    if all(seen[name] == value for name, value in status.items()):
        return True
    return seen["bytes"] == status["bytes"] and _seen(path)["sha256"] == seen["sha256"]
