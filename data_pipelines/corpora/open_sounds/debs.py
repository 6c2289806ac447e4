"""Reads Debian packages without dpkg: an `ar` archive of two tarballs, control and data."""

import bz2
import contextlib
import dataclasses
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from audiosep_jax.errors import DatasetError, MissingPackageError, shown

_MAGIC = b"!<arch>\n"
_HEADER = 60
_DAMAGE = (EOFError, ValueError, OSError, lzma.LZMAError, zlib.error, tarfile.TarError)
_MAX_CONTROL = 1 << 20


@dataclasses.dataclass(frozen=True)
class Deb:
    """A package file; `name` and `version` are those of its control file."""

    path: Path
    name: str
    version: str


def read(path: Path) -> Deb:
    """Reads the name and version of a package.

    Raises:
      DatasetError: the file cannot be read, or is no Debian package.
    """
    with _damage_reported(path), _tarball(path, "control") as tar:
        for member in tar:
            if member.isfile() and member.name.removeprefix("./") == "control":
                content = tar.extractfile(member)
                text = content.read(_MAX_CONTROL).decode("utf-8", "replace") if content else ""
                fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
                if {"Package", "Version"} <= fields.keys():
                    return Deb(path, fields["Package"], fields["Version"])
    raise DatasetError(f"{path} names no package and version in its control file: download it again.")


class Content:
    """The content of a file in a package, to be read before the next file is asked for."""

    def __init__(self, package: Path, file: IO[bytes]):
        self._package, self._file = package, file

    def read(self, size: int = -1) -> bytes:
        """Returns the next bytes, at most `size`; a damaged package is an error."""
        with _damage_reported(self._package):
            return self._file.read(size)


def files(deb: Deb) -> Iterator[tuple[str, Content]]:
    """Yields the path of each file of a package, without a leading "./", and its content.

    Raises:
      DatasetError: the package is damaged.
      MissingPackageError: it is compressed with zstd, and `zstandard` is not installed.
    """
    with _damage_reported(deb.path), _tarball(deb.path, "data") as tar:
        for member in tar:
            if member.isfile() and (content := tar.extractfile(member)):
                yield member.name.removeprefix("./"), Content(deb.path, content)


@contextlib.contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise DatasetError(f"{path} is damaged ({shown(error)}): download it again.") from error


@contextlib.contextmanager
def _tarball(path: Path, name: str) -> Iterator[tarfile.TarFile]:
    """Opens `NAME.tar.*` of a package as a stream."""
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError("it is no ar archive")
        while header := file.read(_HEADER):
            if len(header) < _HEADER or header[58:] != b"`\n":
                raise ValueError("its archive ends early")
            member = header[:16].decode("ascii", "replace").strip().rstrip("/")
            size = int(header[48:58])
            if member.startswith(f"{name}.tar"):
                part = io.BufferedReader(_Part(file, size), 1 << 18)
                with (
                    _decompressed(part, member.removeprefix(f"{name}.tar"), path) as stream,
                    tarfile.open(fileobj=stream, mode="r|", bufsize=1 << 18) as tar,
                ):
                    yield tar
                return
            file.seek(size + size % 2, io.SEEK_CUR)
    raise ValueError(f"it holds no {name}.tar")


def _decompressed(part: Any, suffix: str, path: Path) -> Any:
    if suffix == ".xz":
        return lzma.open(part)
    if suffix == ".gz":
        return gzip.open(part)
    if suffix == ".bz2":
        return bz2.open(part)
    if suffix == ".zst":
        try:
            import zstandard  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise MissingPackageError(
                f"{path} is compressed with zstd: install the extra, pip install 'audiosep_jax[open-sounds]'."
            ) from None
        return zstandard.ZstdDecompressor().stream_reader(part)
    if suffix:
        raise ValueError(f"its compression {suffix!r} is unknown")
    return part


class _Part(io.RawIOBase):
    """The next `size` bytes of a file."""

    def __init__(self, file: IO[bytes], size: int):
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._file.read(min(len(view), self._left))
        if not data and self._left:
            raise EOFError("the archive ends early")
        self._left -= len(data)
        view[: len(data)] = data
        return len(data)
