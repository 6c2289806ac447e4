"""The recordings that a command line names: files, folders and patterns."""

import dataclasses
import fnmatch
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from audiosep_jax.audio.containers import FORMATS
from audiosep_jax.errors import AudioFileError, UsageError, listed, printable

# Suffixes of sound files in folders. A file that the command line names may have any suffix.
SOUNDS = frozenset([*FORMATS, ".oga", ".opus", ".aifc", ".au", ".snd", ".caf"])

_WILD = frozenset("*?[")


@dataclasses.dataclass(frozen=True)
class Recording:
    """A file to be separated.

    The folder is that of its results, below the results' folder: the path from the folder that the command
    line names, or from the fixed part of a pattern, to the file.
    """

    path: Path
    folder: Path = Path()


def find(inputs: Sequence[Path], *, out: Path) -> list[Recording]:
    """Returns the recordings, each once, in the order of the command line and then of their names.

    A folder stands for all files below it with the suffix of a sound file. Links are followed, and no folder
    is entered twice. Names that begin with a dot are skipped, and so is the folder of the results. A path
    with `*`, `?` or `[` that does not exist is a pattern, in which `**` stands for any number of folders. Any
    other path is returned as it is, and reading it says what is wrong.

    Raises:
      AudioFileError: a folder holds no sound or cannot be read, or a pattern matches nothing.
      UsageError: the results would go into a folder that is searched.
    """
    found: dict[Path, Recording] = {}
    for given in inputs:
        if os.path.isdir(given):
            _refuse_out(given, out)
            recordings = [
                Recording(given / part, part.parent)
                for part in _below(given, out)
                if part.suffix.lower() in SOUNDS
            ]
            if not recordings:
                raise AudioFileError(
                    f"The folder {printable(given)} holds no sound file ({listed(sorted(SOUNDS))}): name "
                    "another folder, or the files."
                )
        elif not os.path.lexists(given) and _WILD & set(str(given)):
            recordings = _matching(given, out)
        else:
            recordings = [Recording(given)]
        for recording in recordings:
            found.setdefault(recording.path, recording)
    return list(found.values())


def _refuse_out(folder: Path, out: Path) -> None:
    if (identity := _identity(folder)) is not None and identity == _identity(out):
        raise UsageError(
            f"The results cannot go into {printable(folder)}, whose sounds are separated: give another --out."
        )


def _matching(pattern: Path, out: Path) -> list[Recording]:
    parts = pattern.parts
    fixed = next(index for index, part in enumerate(parts) if _WILD & set(part))
    base, wild = Path(*parts[:fixed]), parts[fixed:]
    # A pattern that names a suffix matches files of that suffix, even if it is no sound file's.
    named = wild[-1].rpartition(".")[2] if "." in wild[-1] else "*"
    any_kind = not _WILD & set(named)
    depth = None if "**" in wild else len(wild)
    _refuse_out(base, out)
    below = _below(base, out, depth=depth) if os.path.isdir(base) else ()
    recordings = [
        Recording(base / part, part.parent)
        for part in below
        if _matches(part.parts, wild) and (any_kind or part.suffix.lower() in SOUNDS)
    ]
    if not recordings:
        raise AudioFileError(f"The pattern {printable(pattern)} matches no sound file: check it.")
    return recordings


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[skipped:], pattern[1:] or ("*",)) for skipped in range(len(parts)))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _below(folder: Path, out: Path, *, depth: int | None = None) -> Iterator[Path]:
    """Yields the files below a folder, relative to it, sorted; see `find`."""
    entered: set[tuple[int, int]] = set()
    left_out = _identity(out)

    def walk(relative: Path, depth: int | None) -> Iterator[Path]:
        here = folder / relative
        identity = _identity(here)
        if identity is None or identity == left_out or identity in entered:
            return
        entered.add(identity)
        try:
            names = sorted(os.listdir(here))
        except OSError as error:
            raise AudioFileError(
                f"The folder {printable(here)} cannot be read ({error.strerror}): change its permissions, or "
                "name the files."
            ) from error
        for name in names:
            if name.startswith("."):
                continue
            if not os.path.isdir(here / name):
                yield relative / name
            elif depth is None or depth > 1:
                yield from walk(relative / name, None if depth is None else depth - 1)

    yield from walk(Path(), depth)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
