"""Makes the clips of the corpus from packages, as FLAC files in a folder, package after package.

A journal in the folder lists the finished packages, so an interrupted extraction resumes after the last one.
"""

import collections
import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

from audiosep_jax.audio.resample import resample
from audiosep_jax.errors import DatasetError, StorageError, listed
from audiosep_jax.utils.atomic import replacing
from audiosep_jax.utils.locks import locked
from data_pipelines.corpora.open_sounds import archives, debs, instruments, sounds
from data_pipelines.corpora.open_sounds.archives import ArchiveError
from data_pipelines.corpora.open_sounds.arrangement import arrange
from data_pipelines.corpora.open_sounds.table import ClipEntry
from data_pipelines.mixtures.clips import encode_flac

JOURNAL = ".packages.jsonl"
_LOCK, _UNPACKING = ".lock", ".unpacking-"
_FORMAT = 1  # of the clips: after a change all are made again
_DIGITS = 8

Failures = Mapping[str, str]
"""The reason for each clip that cannot be made, by its name."""


def extract(
    packages: Mapping[str, debs.Deb],
    entries: Sequence[ClipEntry],
    folder: Path,
    *,
    on_clip: Callable[[], None] = lambda: None,
) -> Failures:
    """Makes the clips of a table in a folder and returns the failures.

    A clip whose members differ from those that the table was made from is a failure.

    Args:
      packages: by name; those of all entries.
      entries: the clips.
      folder: of the clips; clips that it holds from an earlier call are kept if nothing has changed.
      on_clip: called for each clip when it is finished or known to be.

    Raises:
      DatasetError: a package is damaged.
      MissingPackageError: a clip needs a library that is not installed.
      StorageError: the folder cannot be written, or another process writes there.
    """
    by_package: dict[str, list[ClipEntry]] = collections.defaultdict(list)
    for entry in entries:
        by_package[entry.package].append(entry)
    with (
        locked(folder / _LOCK, busy=f"another process makes clips in {folder}", instead="choose another one"),
        _storage_errors(folder),
    ):
        _sweep(folder)
        done = _journal(folder)
        failures: dict[str, str] = {}
        for name, of_package in sorted(by_package.items()):
            key = _fingerprint(packages[name], of_package)
            failed = done.get(key)
            if failed is None or not all(
                (folder / entry.file).is_file() for entry in of_package if entry.clip not in failed
            ):
                failed = dict(_make(packages[name], of_package, folder))
                with (folder / JOURNAL).open("a", encoding="utf-8") as journal:
                    journal.write(json.dumps([key, failed]) + "\n")
            failures |= failed
            for _ in of_package:
                on_clip()
    return failures


def check_libraries(entries: Sequence[ClipEntry]) -> None:
    """Checks that the libraries that some clips need are installed.

    Raises:
      MissingPackageError: tinysoundfont or PyAV is missing.
    """
    if any(entry.program for entry in entries):
        instruments.check_installed()
    if any(member.endswith(sounds.G722) for entry in entries for member in entry.members):
        sounds.check_g722()


def _make(deb: debs.Deb, entries: Sequence[ClipEntry], folder: Path) -> Iterator[tuple[str, str]]:
    """Makes the clips of one package; yields those that cannot be made, with the reason."""
    with tempfile.TemporaryDirectory(prefix=_UNPACKING, dir=folder) as scratch:
        members = _Members(deb, entries, Path(scratch))
        for entry in entries:
            try:
                sound = _clip(entry, members)
                if sounds.is_quiet(sound):
                    raise ArchiveError("it is silent")
            except ArchiveError as error:
                (folder / entry.file).unlink(missing_ok=True)
                yield entry.clip, f"{deb.path.name} ({deb.version}): {error}"
                continue
            flac = encode_flac(sounds.pcm(sound), sample_rate_hz=sounds.RATE_HZ)
            with replacing(folder / entry.file) as temporary:
                temporary.write_bytes(flac)


def _clip(entry: ClipEntry, members: "_Members") -> sounds.Mono:
    if (digest := members.digest(entry)) != entry.check:
        raise ArchiveError(f"{listed(entry.members)} differs from the table ({digest}, not {entry.check})")
    if entry.program:
        font = members.font(entry.members[0].partition("#")[0])
        sound = font.render(entry.clip, entry.label, entry.program, entry.seconds, entry.captions)
        # Soundfonts are digital: however quiet an instrument is, there is no noise to amplify.
        return sounds.level(sound / np.float32(max(1e-9, float(np.max(np.abs(sound), initial=0.0)))))
    decoded = [members.sound(member) for member in entry.members]
    sound, rate_hz = decoded[0]
    if len(decoded) == 1 and entry.start + entry.seconds <= len(sound) / rate_hz + 0.1:
        return sounds.level(sounds.cut(sound, rate_hz, start=entry.start, seconds=entry.seconds))
    parts = [
        (member, resample(sound, from_hz=rate_hz, to_hz=sounds.RATE_HZ))
        for member, (sound, rate_hz) in zip(entry.members, decoded, strict=True)
    ]
    return sounds.level(arrange(entry.clip, entry.label, entry.seconds, parts))


class _Members:
    """The content of the files that a package's clips are made from, unpacked into a folder."""

    def __init__(self, deb: debs.Deb, entries: Sequence[ClipEntry], scratch: Path):
        self._places: dict[str, Path] = {}
        self._digests: dict[str, str] = {}
        self._fonts: dict[str, instruments.SoundFont] = {}
        self._decoded: dict[str, tuple[sounds.Mono, int]] = {}
        self._reasons: dict[str, str] = {}
        wanted: dict[str, set[str]] = collections.defaultdict(set)
        for entry in entries:
            for member in entry.members:
                file, _, inner = member.partition("#")[0].partition("!/")
                wanted[file].add(inner)
        left = set(wanted)
        for name, content in debs.files(deb):
            if name in left:
                left.discard(name)
                with _unpacked(content, scratch) as place:
                    self._take(name, wanted[name], place, scratch)
            if not left:
                break

    def _take(self, file: str, inner: set[str], place: Path, scratch: Path) -> None:
        if "" in inner:
            self._keep(file, place.read_bytes(), scratch)
        if inner := inner - {""}:
            try:
                read = archives.open_archive(file, place)
            except ArchiveError as error:
                self._reasons |= {f"{file}!/{name}": str(error) for name in inner}
                return
            for name in inner:
                try:
                    self._keep(f"{file}!/{name}", read(name), scratch)
                except ArchiveError as error:
                    self._reasons[f"{file}!/{name}"] = str(error)

    def _keep(self, member: str, content: bytes, scratch: Path) -> None:
        suffix = Path(member).suffix
        place = scratch / f"{len(self._places)}{suffix}"
        place.write_bytes(content)
        self._places[member] = place

    def _place(self, member: str) -> Path:
        try:
            return self._places[member]
        except KeyError:
            raise ArchiveError(self._reasons.get(member, f"it has no {member}")) from None

    def digest(self, entry: ClipEntry) -> str:
        """Returns what `ClipEntry.check` says."""
        files = tuple(member.partition("#")[0] for member in entry.members)
        key = ";".join(files)
        if key not in self._digests:
            whole = hashlib.sha256()
            for file in files:
                whole.update(self._place(file).read_bytes())
            self._digests[key] = whole.hexdigest()[:_DIGITS]
        return self._digests[key]

    def sound(self, member: str) -> tuple[sounds.Mono, int]:
        if member not in self._decoded:
            while len(self._decoded) > 32:
                self._decoded.pop(next(iter(self._decoded)))
            place = self._place(member)
            self._decoded[member] = sounds.decode(member, place.read_bytes())
        return self._decoded[member]

    def font(self, member: str) -> instruments.SoundFont:
        if member not in self._fonts:
            self._fonts[member] = instruments.SoundFont(self._place(member))
        return self._fonts[member]


@contextlib.contextmanager
def _unpacked(content: debs.Content, scratch: Path) -> Iterator[Path]:
    place = scratch / "unpacked"
    with place.open("wb") as file:
        while block := content.read(1 << 20):
            file.write(block)
    try:
        yield place
    finally:
        place.unlink()


def _sweep(folder: Path) -> None:
    """Removes what a killed process left."""
    for path in folder.glob(f"{_UNPACKING}*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".*.flac"):
        path.unlink()


def _fingerprint(deb: debs.Deb, entries: Sequence[ClipEntry]) -> str:
    """Returns a hash of everything that the clips of a package depend on."""
    stat = deb.path.stat()
    libraries = (soundfile.__libsndfile_version__, soxr.__version__, np.__version__)
    facts = (_FORMAT, libraries, deb.name, deb.version, stat.st_size, stat.st_mtime_ns, entries)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _journal(folder: Path) -> dict[str, dict[str, str]]:
    """Returns the failures of each finished package by its fingerprint; ignores an unfinished last line."""
    done: dict[str, dict[str, str]] = {}
    with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
        for line in (folder / JOURNAL).read_text("utf-8").splitlines():
            with contextlib.suppress(ValueError):
                key, failed = json.loads(line)
                done[key] = failed
    return done


@contextlib.contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written ({error.strerror or error}): make room, then give the same command "
            "again to resume."
        ) from error


def check_failures(failures: Failures, total: int, *, most: float) -> None:
    """Checks that few enough clips failed.

    Raises:
      DatasetError: the share is larger than `most`; the text says which.
    """
    if len(failures) > most * total:
        reasons = [f"{clip}: {reason}" for clip, reason in sorted(failures.items())]
        raise DatasetError(
            f"{len(failures)} of {total} clips of open_sounds cannot be made: "
            f"{listed(reasons, separator='; ')}. Give the packages in the versions of docs/datasets.md, or "
            "raise --max-failed-share to leave the clips out."
        )
