"""What made a result: a small record beside it, by which it is known again."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import audiosep_jax
from audiosep_jax.cli.separate.naming import Result
from audiosep_jax.errors import AudioFileError, StorageError, printable
from audiosep_jax.separation.model import Core
from audiosep_jax.utils.atomic import write_json

FOLDER = ".audiosep"

_BLOCK_BYTES = 1 << 20


def model_fingerprint(model: Core) -> str:
    """Returns the SHA-256 over a model's weights and config, and over its query encoder, wherever it lies.

    Raises:
      AudioSepError: the query encoder cannot be loaded.
    """
    parts = (model.config.model, model.config.query.encoder, model.encoder_fingerprint)
    digest = hashlib.sha256(repr(parts).encode())
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

    def report(
        self, result: Result, recording: Path, maker: str, *, tell: Callable[[], None]
    ) -> dict[str, Any] | None:
        """Returns what was noted of a result; None unless it is there and what would be made again.

        Args:
          result: that is wanted.
          recording: that it is made of.
          maker: fingerprint of what makes it.
          tell: called now and then; what it raises ends the reading.
        """
        try:
            record = _read(result)
            same = record["maker"] == maker and _is(recording, record["recording"], tell)
            files = zip(result.files, record["files"], strict=True)
            return dict(record["report"]) if same and all(_is(*pair, tell) for pair in files) else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):  # none, or a damaged one
            return None

    def forget(self, result: Result) -> None:
        """Removes the record of a result that is about to be made again.

        Raises:
          AudioSepError: it cannot be removed.
        """
        path = _path(result)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"{printable(path)}, where a record belongs, cannot be removed ({error.strerror}): move what "
                "is there elsewhere, or choose another --out."
            ) from error

    def note(
        self,
        result: Result,
        recording: "Seen",
        maker: str,
        report: Mapping[str, Any],
        *,
        tell: Callable[[], None],
    ) -> None:
        """Writes the record of a result that is finished, unless the recording has changed meanwhile.

        Raises:
          AudioSepError: it cannot be written, or a result has vanished.
        """
        try:
            if not recording.unchanged():
                return
            files = [_seen(path, tell) for path in result.files]
        except OSError as error:
            raise AudioFileError(
                f"{printable(error.filename)} vanished while it was used: {error.strerror}."
            ) from error
        record = {
            "maker": maker,
            "name": recording.name,
            "names": _names(result),
            "queries": _identities(result),
            "recording": recording.values,
            "files": files,
            "report": dict(report),
        }
        write_json(_path(result), record)


def is_of_others(result: Result, recording: Path) -> bool:
    """Whether the files of a result hold, as their record says, what other queries found.

    Args:
      result: as it may be called.
      recording: that it would be made of; one of another name counts as other queries do.

    Raises:
      AudioSepError: an example of a query cannot be read.
    """
    try:
        record = _read(result)
        known = record["name"], record["names"], record["queries"]
        kept = any(os.path.lexists(result.files[0].parent / name) for name in record["names"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # none, or a damaged one
        return False
    return kept and known != (recording.name, _names(result), _identities(result))


def _path(result: Result) -> Path:
    return result.files[0].parent / FOLDER / f"{result.name}.json"


def _read(result: Result) -> Any:
    return json.loads(_path(result).read_text("utf-8"))


def _names(result: Result) -> list[str]:
    return sorted(file.name for file in result.files)


def _identities(result: Result) -> list[str]:
    return sorted(each.identity() for each in result.asked)


class Seen:
    """A file as it is before it is used.

    Args:
      path: of the file.
      tell: called now and then; what it raises ends the reading.

    Attributes:
      name: of the file.

    Raises:
      AudioSepError: it cannot be read.
    """

    def __init__(self, path: Path, *, tell: Callable[[], None]) -> None:
        self._path, self.name = path, path.name
        try:
            self.values = _seen(path, tell)
        except OSError as error:
            raise AudioFileError(
                f"{printable(path)} cannot be read: {os.strerror(error.errno or 0)}."
            ) from error

    def unchanged(self) -> bool:
        """Whether it still is."""
        return _status(self._path).items() <= self.values.items()


def _seen(path: Path, tell: Callable[[], None]) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            tell()
            digest.update(block)
    return {**_status(path), "sha256": digest.hexdigest()}


def _status(path: Path) -> dict[str, int]:
    status = path.stat()
    return {
        "bytes": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "changed_ns": status.st_ctime_ns,
        "inode": status.st_ino,
    }


def _is(path: Path, seen: Mapping[str, Any], tell: Callable[[], None]) -> bool:
    """Whether a file is what was seen: untouched since, or of the same content."""
    status = _status(path)
    if all(seen[name] == value for name, value in status.items()):
        return True
    return seen["bytes"] == status["bytes"] and _seen(path, tell)["sha256"] == seen["sha256"]
