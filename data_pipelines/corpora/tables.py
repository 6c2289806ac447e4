"""Reads the tables of datasets (CSV, JSON, lines of text) and finds sound files by name."""

import contextlib
import csv
import dataclasses
import json
import math
import os
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from audiosep_jax.errors import DatasetError, listed, shown
from data_pipelines.mixtures.clips import ClipRow
from data_pipelines.prepare.video import CONTAINER_SUFFIXES

SOUND_SUFFIXES = (".wav", ".flac", ".aiff", ".aif", ".ogg", ".opus", ".mp3")
"""Files that libsndfile decodes, the lossless ones first."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A CSV table; `lines`, each its number and its fields by column, can be read once."""

    path: Path
    columns: tuple[str, ...]
    lines: Iterator[tuple[int, dict[str, str]]]
    what: str

    def where(self, number: int) -> str:
        """Names a line in an error."""
        return f"{self.path}, line {number}"

    def seconds(self, number: int, text: str) -> float:
        """Returns a field that is a time in seconds; any other text is an error."""
        with contextlib.suppress(ValueError):
            if math.isfinite(seconds := float(text)):
                return seconds
        raise DatasetError(
            f"{self.where(number)} has the time {text!r}, which is not a number of seconds: give {self.what}."
        )


def read_csv(
    path: Path,
    *,
    required: Sequence[str] = (),
    columns: Sequence[str] = (),
    comment: str = "",
    spaced: bool = False,
    encoding: str = "utf-8-sig",
    what: str = "a CSV table",
) -> Table:
    """Opens a CSV table; errors ask for `what`.

    The `required` columns must exist and be filled in on every line. A table without a header gets the names
    `columns`, and each line must have one field for each. Lines that begin with `comment` are skipped.
    `spaced` ignores a space after each comma, also before a quotation mark.

    Raises:
      DatasetError: the file is missing or not such a table; the text names the line. An error of a line is
        raised when the line is read.
    """

    def lines() -> Iterator[tuple[int, list[str]]]:
        try:
            with path.open(encoding=encoding, newline="") as file:
                reader = csv.reader(file, skipinitialspace=spaced)
                for values in reader:
                    if values and not (comment and values[0].startswith(comment)):
                        yield reader.line_num, values
        except FileNotFoundError:
            raise DatasetError(f"{path} does not exist: give {what}.") from None
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(
                f"{path} is not a readable CSV table ({shown(error)}): give {what}."
            ) from error

    def fields() -> Iterator[tuple[int, dict[str, str]]]:
        for number, values in rest:
            if columns and len(values) != len(columns):
                raise DatasetError(
                    f"{path}, line {number} has {len(values)} fields where {len(columns)} are needed "
                    f"({', '.join(columns)}): give {what}."
                )
            line = dict(zip(names, values, strict=False))
            empty = [name for name in names if name in required and not line.get(name, "").strip()]
            if empty:
                raise DatasetError(
                    f"{path}, line {number} is incomplete: it has no {' and no '.join(empty)}; give {what}."
                )
            yield number, line

    rest = lines()
    names = tuple(columns or next(rest, (0, []))[1])
    missing = [name for name in required if name not in names]
    if missing:
        raise DatasetError(
            f"{path} lacks the column(s) {listed(missing)} and has {listed(names) or 'none'}: give {what}."
        )
    return Table(path, names, fields(), what)


def encoding_of(path: Path) -> str:
    """Returns "utf-8-sig" for a UTF-8 file, otherwise "latin-1", which can decode any file."""
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    except OSError:
        pass  # the function that reads the file raises a clear error
    return "utf-8-sig"


def read_json(path: Path, *, what: str) -> Any:
    """Reads a JSON file; errors ask for `what`."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist: give {what}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not a readable JSON file ({shown(error)}): give {what}.") from error


def read_lines(path: Path, *, what: str) -> list[str]:
    """Reads the lines of a UTF-8 file, without the white space around them; errors ask for `what`."""
    try:
        return [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read ({shown(error)}): give {what}.") from error


def find_file(root: Path, name: str, *folders: str) -> Path | None:
    """Returns the file of a name in `root`, or in the first of its folders that has the file."""
    places = (root, *(root / folder for folder in folders))
    return next((place / name for place in places if (place / name).is_file()), None)


class FileIndex:
    """The sound and video files below a folder, by name without suffix.

    The folder is walked once, and no file is opened: a corpus has millions, often on a network drive. Names
    are compared in Unicode's composed form, because some systems store accents as separate characters. Only
    files of `suffixes`, in any case, are indexed; of two equal names the earlier suffix is preferred.
    """

    def __init__(self, root: Path, *, suffixes: Sequence[str] = SOUND_SUFFIXES + CONTAINER_SUFFIXES):
        rank = {suffix: rank for rank, suffix in enumerate(suffixes)}
        self._files: dict[str, list[str]] = {}
        for file in _walk(root):
            stem, suffix = posixpath.splitext(posixpath.basename(file))
            if suffix.lower() in rank:
                self._files.setdefault(_composed(stem), []).append(file)
        for files in self._files.values():
            files.sort(key=lambda file: (rank[posixpath.splitext(file)[1].lower()], file))

    def find(self, stem: str, *, folder: str = "") -> str | None:
        """Returns a name's file, relative to the root, below a folder whose name contains `folder`."""
        return self.first([stem], folder=folder)

    def first(self, stems: Iterable[str], *, folder: str = "") -> str | None:
        """Returns the path of the first of several names that has a file; see `find`."""
        for stem in stems:
            for file in self._files.get(_composed(stem), ()):
                if not folder or any(folder in part for part in file.split("/")[:-1]):
                    return file
        return None

    def __contains__(self, file: str) -> bool:
        """Returns whether the index has a file of this path."""
        stem = posixpath.splitext(posixpath.basename(file))[0]
        return file in self._files.get(_composed(stem), ())

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yields each name with its preferred file."""
        return ((stem, files[0]) for stem, files in self._files.items())

    def in_folder(self, folder: str) -> Iterator[tuple[str, str]]:
        """Yields name and path of each file directly in a folder whose name begins with `folder`."""
        for stem, files in self._files.items():
            for file in files:
                if posixpath.basename(posixpath.dirname(file)).startswith(folder):
                    yield stem, file
                    break


def _walk(root: Path) -> Iterator[str]:
    """Yields the paths of all files below a folder, relative to it; symbolic links are followed."""
    seen = set()
    for folder, names, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # reached through a symbolic link before
            names.clear()
            continue
        seen.add(real)
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        for name in files:
            yield name if relative == "." else f"{relative}/{name}"


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def merge(known: ClipRow, row: ClipRow, where: str, *, one_label: bool = False) -> ClipRow:
    """Returns one row for two lines of one file, with the captions, frames and labels of both.

    Raises:
      DatasetError: the lines have different recordings, splits or, with `one_label`, labels.
    """
    same_label = known.label == row.label or not one_label
    if (known.source, known.split) != (row.source, row.split) or not same_label:
        what = "label, source or split" if one_label else "source or split"
        raise DatasetError(f"{where} names {row.file} again with another {what}: make the lines agree.")
    labels = _union(known.labels or (known.label,), row.labels or (row.label,))
    return dataclasses.replace(
        known,
        captions=_union(known.captions, row.captions),
        frames=_union(known.frames, row.frames),
        label=known.label or row.label,
        labels=labels if len(labels) > 1 else (),
    )


def _union(*parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for part in parts for text in part if text))
