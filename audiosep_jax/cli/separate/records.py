"""Records of results: a small file beside each result says what it was made of, so that it can be skipped."""

import functools
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
from audiosep_jax.separation.api import AudioSep
from audiosep_jax.utils.atomic import write_json

FOLDER = ".audiosep"

_BLOCK_BYTES = 1 << 20

_DAMAGED = (OSError, ValueError, KeyError, TypeError, RecursionError)  # there is no record, or a damaged one


def model_fingerprint(model: AudioSep) -> str:
    """Returns the SHA-256 of a model's weights and config and of its query encoder, wherever their files are.

    Raises:
      AudioSepError: the query encoder cannot be loaded.
    """
    parts = (model.config.model, model.config.query.encoder, model.encoder_fingerprint)
    digest = hashlib.sha256(repr(parts).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()


class FileState:
    """The size, times and inode of a file when it was first looked at, and the hash of its content.

    The file is read only if its hash is needed, and then once. `check` is called between blocks; an exception
    that it raises ends the reading.
    """

    def __init__(self, path: Path, *, check: Callable[[], None]) -> None:
        self._path, self.name, self._check = path, path.name, check
        try:
            self._status = _status(path)
        except (OSError, ValueError):  # opening the file says what is wrong
            self._status = None

    @functools.cached_property
    def _sha256(self) -> str:
        digest = hashlib.sha256()
        with self._path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                self._check()
                digest.update(block)
        return digest.hexdigest()

    def values(self) -> dict[str, Any]:
        """Returns the state for a record; raises OSError if the file cannot be read."""
        return {**(self._status or {}), "sha256": self._sha256}

    def matches(self, recorded: Mapping[str, Any]) -> bool:
        """Whether the file is the recorded one: untouched, or with the same content."""
        if self._status is None:
            return False
        if all(recorded[name] == value for name, value in self._status.items()):
            return True
        return recorded["bytes"] == self._status["bytes"] and recorded["sha256"] == self._sha256

    def unchanged(self) -> bool:
        """Whether the file was not touched since; raises OSError if it is gone."""
        return _status(self._path) == self._status


def _status(path: Path) -> dict[str, int]:
    status = path.stat()
    return {
        "bytes": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "changed_ns": status.st_ctime_ns,
        "inode": status.st_ino,
    }


class Records:
    """The records of a run with one model, given by its fingerprint, and options, as JSON values.

    `check` is that of `FileState`.
    """

    def __init__(self, *, model: str, options: Mapping[str, Any], check: Callable[[], None]) -> None:
        self._settings = {"version": audiosep_jax.__version__, "model": model, "options": dict(options)}
        self._check = check

    def maker(self, result: Result) -> str:
        """Returns a fingerprint of everything that a result depends on, except the recording.

        Raises:
          QueryError: an example of a query cannot be read.
        """
        names = [file.name for file in result.files]
        queries = [query.fingerprint for query in result.queries]
        text = json.dumps({**self._settings, "queries": queries, "files": names}, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def report(self, result: Result, recording: FileState, maker: str) -> dict[str, Any] | None:
        """Returns the report in a result's record; None if the result has to be made (again)."""
        try:
            record = _read(result)
            same = record["maker"] == maker and recording.matches(record["recording"])
            for file, recorded in zip(result.files, record["files"], strict=True):
                same = same and FileState(file, check=self._check).matches(recorded)
            return dict(record["report"]) if same else None
        except _DAMAGED:
            return None

    def forget(self, result: Result) -> None:
        """Removes the record of a result that is about to be made again.

        Raises:
          StorageError: it cannot be removed.
        """
        path = _path(result)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"{printable(path)}, where a record belongs, cannot be removed ({error.strerror}): move it "
                "elsewhere, or choose another --out."
            ) from error

    def note(self, result: Result, recording: FileState, maker: str, report: Mapping[str, Any]) -> None:
        """Writes the record of a finished result, unless the recording has changed meanwhile.

        Raises:
          AudioFileError: the recording or a result has vanished.
          StorageError: the record cannot be written.
        """
        try:
            seen = recording.values()
            if not recording.unchanged():
                return
            files = [FileState(path, check=self._check).values() for path in result.files]
        except OSError as error:
            raise AudioFileError(
                f"{printable(error.filename)} vanished while it was used: {error.strerror}."
            ) from error
        record = {
            "maker": maker,
            "name": recording.name,
            "names": _names(result),
            "queries": _identities(result),
            "recording": seen,
            "files": files,
            "report": dict(report),
        }
        write_json(_path(result), record)


def is_of_others(result: Result, recording: Path) -> bool:
    """Whether the files of a result exist and belong, by their record, to other queries or another recording.

    A recording of another name is another one.

    Raises:
      QueryError: an example of a query cannot be read.
    """
    try:
        record = _read(result)
        known = record["name"], record["names"], record["queries"]
        kept = any(os.path.lexists(result.files[0].parent / name) for name in record["names"])
    except _DAMAGED:
        return False
    return kept and known != (recording.name, _names(result), _identities(result))


def _path(result: Result) -> Path:
    return result.files[0].parent / FOLDER / f"{result.name}.json"


def _read(result: Result) -> Any:
    return json.loads(_path(result).read_text("utf-8"))


def _names(result: Result) -> list[str]:
    return sorted(file.name for file in result.files)


def _identities(result: Result) -> list[str]:
    return sorted(query.identity for query in result.queries)
