"""Writing a folder whole or not at all."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from audiosep_jax.errors import AudioSepError

MANIFEST_FILE = "manifest.json"
KIND = "audiosep_jax export"


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Gives an empty folder beside `out` and, when the block ends without an error, moves it there.

    An earlier export at `out` is replaced; whatever else lies there is never touched.

    Raises:
      AudioSepError: `out` is a file or a folder with foreign files, or something cannot be written.
    """
    out = Path(os.path.abspath(out))  # not resolve(): a link at `out` is refused below
    try:
        _check_replaceable(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        yield staging
        staging.chmod(0o755)
        _publish(staging, out)
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unwritable(out: Path, error: OSError) -> AudioSepError:
    return AudioSepError(
        f"The export folder {out} cannot be written ({error.strerror or error}): make room or choose "
        "another --out."
    )


def _check_replaceable(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise AudioSepError(f"{out} is not a folder: choose another --out.")
    if not out.exists():
        return
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()}
    # Where somebody imports run.py, Python leaves a cache.
    foreign = sorted(name for name in there - _listed(out) if not name.startswith("__pycache__/"))
    if foreign:
        raise AudioSepError(
            f"{out} holds {foreign[0]!r}, which is no part of an export: choose a new folder."
        )


def _listed(out: Path) -> set[str]:
    """Returns the files of an export that lies at `out`; nothing where there is none."""
    try:
        manifest = json.loads((out / MANIFEST_FILE).read_text("utf-8"))
        if manifest["kind"] != KIND:
            return set()
        return {MANIFEST_FILE, *manifest["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _publish(staging: Path, out: Path) -> None:
    _check_replaceable(out)  # again: the work before took a while
    if not out.exists():
        os.rename(staging, out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent)) / out.name
    try:
        os.rename(out, old)
        try:
            os.rename(staging, out)
        except OSError:
            os.rename(old, out)
            raise
    finally:
        shutil.rmtree(old.parent, ignore_errors=True)
