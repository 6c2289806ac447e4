"""Work directories, here or in a bucket: one kind of path for both, and files that appear whole."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# epath would take TensorFlow for gs:// where somebody has installed it; it is never imported here.
os.environ.setdefault("EPATH_USE_TF", "false")

from etils import epath

from audiosep_jax.errors import MissingPackageError, StorageError, shown
from audiosep_jax.utils import atomic

_BACKENDS = {"gs": "gcsfs"}
"""What reads and writes a scheme. Arrays go to buckets without it, but folders are read through it.

S3 is not among them: Orbax finishes a checkpoint there by renaming, which copies file by file.
"""


_ADDRESS = re.compile(r"([a-z][a-z0-9]+):/+")
"""How an address begins; pathlib makes one slash of two."""


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path lies in a bucket, such as gs://bucket/run."""
    return _ADDRESS.match(os.fspath(path)) is not None


def work_directory(path: str | os.PathLike) -> epath.Path:
    """Makes a work directory and returns it; a local one becomes absolute.

    Raises:
      AudioSepError: it cannot be made, its scheme is unknown, or what reads the bucket is not installed.
    """
    text = os.fspath(path)
    address = _ADDRESS.match(text)
    if address is None:
        folder = epath.Path(os.path.abspath(text))
    elif address[1] in _BACKENDS:
        folder = epath.Path(f"{address[1]}://{text[address.end() :]}")
    else:
        raise StorageError(
            f"work directory {shown(text)}: {address[1]}:// is not supported; give a local folder, or gs://."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except ImportError as error:
        package = _BACKENDS[address[1] if address else "gs"]
        raise MissingPackageError(
            f"work directory {shown(folder)} needs the package {package}: pip install {package}."
        ) from error
    except Exception as error:  # every backend has its own: OSError here, HTTP and credentials there
        raise StorageError(f"work directory {shown(text)} cannot be made: {shown(error)}.") from error
    return folder


@contextlib.contextmanager
def replacing_file(path: epath.Path) -> Iterator[Path]:
    """Gives a local temporary path and, when the block ends without an error, puts the file at `path`.

    Locally the file is moved there, in a bucket it is uploaded as one object: readers see the old one or
    the new one whole. The temporary file keeps the suffix, because writers choose the format by it.

    Raises:
      AudioSepError: the file cannot be written there.
    """
    if not is_remote(path):
        with atomic.replacing(Path(path)) as temporary:
            yield temporary
        return
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.") from error
    temporary = Path(name)
    try:
        yield temporary
        upload(temporary, path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {shown(error)}.") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def local_folder(path: epath.Path) -> Iterator[Path]:
    """Gives a local folder for what only writes to local ones; its files end up in the folder `path`.

    A local `path` is that folder itself. For one in a bucket it is temporary, and its files are uploaded when
    the block ends without an error, the largest last: what is small describes it, and has to be there first.

    Raises:
      AudioSepError: the folder cannot be written.
    """
    if not is_remote(path):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="audiosep-") as name:
        yield Path(name)
        files = (file for file in Path(name).rglob("*") if file.is_file())
        for file in sorted(files, key=lambda file: file.stat().st_size):
            upload(file, path / file.relative_to(name).as_posix())


def upload(file: Path, path: epath.Path) -> None:
    """Copies a local file to a bucket, as one object."""
    try:
        with file.open("rb") as source, path.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 24)  # pyright: ignore[reportArgumentType]
    except Exception as error:  # every backend has its own: OSError here, HTTP and credentials there
        raise StorageError(f"{path} cannot be written: {shown(error)}.") from error


def read_bytes(path: epath.Path) -> bytes | None:
    """Returns the content of a file, None if there is none; raises StorageError if it cannot be read."""
    try:
        return path.read_bytes() if path.exists() else None
    except FileNotFoundError:
        return None
    except Exception as error:  # as above
        raise StorageError(f"{path} cannot be read: {shown(error)}.") from error
