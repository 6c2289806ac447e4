"""Archives inside packages: zip files, Qt resources, sounds of OpenTTD, groups of OpenClonk."""

import gzip
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

_DAMAGE = (
    KeyError, IndexError, ValueError, EOFError, OSError, NotImplementedError, RuntimeError,
    struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


class ArchiveError(Exception):
    """A file inside a package that is not there or cannot be unpacked."""


def open_archive(name: str, path: Path) -> Callable[[str], bytes]:
    """Returns a function from the path of a file in an archive to its content.

    The kind of the archive is read from its first bytes and the suffix of its name in the package. Zip files
    may be large and are read from the disk.

    Raises:
      ArchiveError: the archive is of no known kind or damaged; the function raises it for a missing file.
    """
    reader: Callable[[str], bytes]
    try:
        with path.open("rb") as file:
            content = file.read(4)
            content += b"" if content[:2] == b"PK" else file.read()
        if content[:2] == b"PK":
            reader = _Zip(path)
        elif content[:4] == b"qres":
            reader = _QtResource(content)
        elif content[:2] == b"\x1e\x8c":
            reader = _Group(_unscrambled(content))
        elif name.endswith(".cat"):
            reader = _SoundCatalogue(content)
        else:
            raise ArchiveError(f"{name} is no archive of a known kind")
    except _DAMAGE as error:
        raise ArchiveError(f"{name} is damaged ({error})") from error

    def read(member: str) -> bytes:
        try:
            return reader(member)
        except _DAMAGE as error:
            raise ArchiveError(f"{name} has no readable {member}") from error

    return read


class _Zip:
    def __init__(self, path: Path):
        self._file = zipfile.ZipFile(path)

    def __call__(self, member: str, /) -> bytes:
        return self._file.read(member)


class _QtResource:
    """A binary resource of Qt (`rcc --binary`), format 1 to 3; not those compressed with zstd."""

    def __init__(self, content: bytes):
        self._content = content
        self._version, self._tree, self._data, self._names = struct.unpack(">4I", content[4:20])
        if not 1 <= self._version <= 3:
            raise ValueError(f"version {self._version}")

    def __call__(self, member: str, /) -> bytes:
        node = 0
        for part in member.split("/"):
            count, first = struct.unpack(">II", self._node(node)[6:14])
            node = {self._name(child): child for child in range(first, first + count)}[part]
        (flags,) = struct.unpack(">H", self._node(node)[4:6])
        (offset,) = struct.unpack(">I", self._node(node)[10:14])
        start = self._data + offset
        (size,) = struct.unpack(">I", self._content[start : start + 4])
        stored = self._content[start + 4 : start + 4 + size]
        if flags & 4:
            raise ValueError("zstd")
        return zlib.decompress(stored[4:]) if flags & 1 else stored

    def _node(self, index: int) -> bytes:
        size = 14 if self._version == 1 else 22
        return self._content[self._tree + size * index :][:size]

    def _name(self, index: int) -> str:
        (offset,) = struct.unpack(">I", self._node(index)[:4])
        start = self._names + offset
        (length,) = struct.unpack(">H", self._content[start : start + 2])
        return self._content[start + 6 : start + 6 + 2 * length].decode("utf-16-be")


class _SoundCatalogue:
    """A sound set of OpenTTD: offsets and sizes of the sounds, then each with a name in front.

    A member's name is the number of the sound with two digits; what follows an underscore is ignored.
    """

    def __init__(self, content: bytes):
        self._content = content
        (first,) = struct.unpack("<I", content[:4])
        self._count = (first & 0x7FFFFFFF) // 8

    def __call__(self, member: str, /) -> bytes:
        number = int(member.split("_")[0].split(".")[0])
        if not 0 <= number < self._count:
            raise IndexError(number)
        offset, size = struct.unpack("<II", self._content[8 * number : 8 * number + 8])
        offset &= 0x7FFFFFFF
        start = offset + 1 + self._content[offset]
        riff = self._content[start : start + size]
        if riff[:4] != b"RIFF":
            raise ValueError("no RIFF")
        return riff


class _Group:
    """A group of OpenClonk: a header and entries of fixed size, then the files; groups may lie in groups."""

    _ENTRY = 316

    def __init__(self, content: bytes):
        header = _descrambled_header(content[:204])
        if not header.startswith(b"RedWolf Design GrpFolder"):
            raise ValueError("no group")
        (count,) = struct.unpack("<i", header[36:40])
        base = 204 + count * self._ENTRY
        self._content = content
        self._entries: Mapping[str, tuple[int, int]] = dict(
            self._entry(index, base) for index in range(count)
        )

    def _entry(self, index: int, base: int) -> tuple[str, tuple[int, int]]:
        entry = self._content[204 + index * self._ENTRY :][: self._ENTRY]
        size, _, offset = struct.unpack("<iii", entry[268:280])
        return entry[:260].split(b"\0")[0].decode("latin-1"), (base + offset, size)

    def __call__(self, member: str, /) -> bytes:
        name, _, rest = member.partition("/")
        start, size = self._entries[name]
        content = self._content[start : start + size]
        return _Group(content)(rest) if rest else content


def _unscrambled(content: bytes) -> bytes:
    """Returns the content of a group file, which is gzip with other first bytes."""
    return gzip.decompress(b"\x1f\x8b" + content[2:])


def _descrambled_header(header: bytes) -> bytes:
    mixed = bytearray(header)
    for place in range(0, len(mixed) - 2, 3):
        mixed[place], mixed[place + 2] = mixed[place + 2], mixed[place]
    return bytes(byte ^ 237 for byte in mixed)
