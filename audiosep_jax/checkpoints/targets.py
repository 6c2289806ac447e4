"""Where a conversion writes: a new folder or file, never in place of what no conversion wrote."""

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path

from audiosep_jax.checkpoints import tower_folder
from audiosep_jax.encoders import tokenizer
from audiosep_jax.errors import StorageError
from audiosep_jax.utils import staging

_TOWER_PARTS = ("config.json", "model.safetensors", *tower_folder.SETTINGS, *tokenizer.FILES)
_KEPT = "README.md"  # the user's own words, which no conversion writes
# All files that may lie in a folder that --overwrite replaces.
PARTS = frozenset(
    (
        *_TOWER_PARTS,
        "carried.safetensors",
        "presence.json",
        _KEPT,
        *(f"tower/{name}" for name in _TOWER_PARTS),
    )
)


@contextlib.contextmanager
def new_folder(
    path: str | Path, *, overwrite: bool, sources: Collection[str | Path | None] = ()
) -> Iterator[Path]:
    """Gives an empty folder beside `path` and renames it to `path` when the block ends without an error.

    `path` must not exist, or be an empty folder, both now and when the block ends. With `overwrite`, a
    checkpoint or tower folder may be there; its README.md goes over to the new one. `sources` are what the
    conversion reads; entries that are no paths are ignored.

    Raises:
      StorageError: something else lies there, or a source, or the folder cannot be written.
    """
    path = Path(path)

    def check() -> None:
        _check_folder(path, overwrite=overwrite, sources=sources)

    with _errors(path), staging.staged_folder(path, check=check, keep=lambda name: name == _KEPT) as new:
        yield new
        for file in (new, *new.rglob("*")):
            file.chmod(0o755 if file.is_dir() else 0o644)


@contextlib.contextmanager
def new_file(
    path: str | Path, *, overwrite: bool, sources: Collection[str | Path | None] = ()
) -> Iterator[Path]:
    """Gives the name of a file beside `path` and renames it to `path` when the block ends without an error.

    `path` must not exist, neither now nor when the block ends; with `overwrite`, a file may be there.
    `sources` are checkpoint folders that the conversion reads.

    Raises:
      StorageError: the file exists and must not be overwritten, or is part of a source, or it cannot be
        written.
    """
    path = Path(path)

    def check() -> None:
        if path.is_symlink():
            raise StorageError(f"{path} is a link: give the name of the file itself.")
        if path.is_dir():
            raise StorageError(f"{path} is a folder: give the name of a file, such as {path / 'model.ckpt'}.")
        if path.exists() and not overwrite:
            raise StorageError(f"{path} exists: choose another name, or add --overwrite.")
        for source in _existing(sources):
            if path.exists() and path.resolve() in {(source / name).resolve() for name in ("", *PARTS)}:
                raise StorageError(f"{path} is part of the source {source}: choose another name.")

    with _errors(path), staging.staged_file(path, overwrite=overwrite, check=check) as new:
        yield new
        new.chmod(0o644)


def _check_folder(path: Path, *, overwrite: bool, sources: Collection[str | Path | None]) -> None:
    if path.is_symlink():
        raise StorageError(f"{path} is a link: give the name of the folder itself.")
    if path.exists() and not path.is_dir():
        raise StorageError(f"{path} is a file: give the name of a new folder.")
    if not staging.is_taken(path):
        return
    if not overwrite:
        raise StorageError(f"{path} exists and is not empty: choose another folder, or add --overwrite.")
    for source in _existing(sources):
        if path.resolve() in (source.resolve(), *source.resolve().parents):
            raise StorageError(f"{path} holds the source {source}: choose another folder.")
    if not (path / "config.json").is_file() or not (path / "model.safetensors").is_file():
        raise StorageError(
            f"{path} is not a checkpoint folder, so --overwrite does not replace it: choose another folder."
        )
    name = staging.foreign(path, PARTS)
    if name is not None:
        raise StorageError(
            f"{path} holds {name!r}, which no conversion wrote, so --overwrite does not replace it: move "
            "that file away, or choose another folder."
        )


def _existing(sources: Collection[str | Path | None]) -> list[Path]:
    return [path for path in (Path(source).expanduser() for source in sources if source) if path.exists()]


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}.") from error
