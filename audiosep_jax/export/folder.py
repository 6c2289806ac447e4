"""The folder of an export, which is written whole or not at all."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from audiosep_jax.errors import StorageError
from audiosep_jax.utils import staging

MANIFEST_FILE = "manifest.json"
KIND = "audiosep_jax export"


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Gives an empty folder beside `out` and moves it there when the block ends without an error.

    An earlier export at `out` is replaced; a folder with other files is refused.

    Raises:
      StorageError: `out` is a file, a folder with other files, or cannot be written.
    """
    out = Path(os.path.abspath(out))  # not resolve(): a link at `out` is refused below
    try:
        with staging.staged_folder(out, check=lambda: _check_replaceable(out)) as new:
            yield new
            new.chmod(0o755)
    except OSError as error:
        raise StorageError(
            f"The export folder {out} cannot be written ({error.strerror or error}): make room or choose "
            "another --out."
        ) from error


def _check_replaceable(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise StorageError(f"{out} is not a folder: choose another --out.")
    if not out.exists():
        return
    # Python leaves a cache where run.py was imported.
    cache = {path.relative_to(out).as_posix() for path in out.glob("__pycache__/*.pyc")}
    name = staging.foreign(out, _listed(out) | cache)
    if name is not None:
        raise StorageError(f"{out} holds {name!r}, which is not part of an export: choose a new folder.")


def _listed(out: Path) -> set[str]:
    """Returns the files of the export at `out`; none if it is no export."""
    try:
        manifest = json.loads((out / MANIFEST_FILE).read_text("utf-8"))
        return {MANIFEST_FILE, *manifest["files"]} if manifest["kind"] == KIND else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()
