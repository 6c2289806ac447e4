"""The tables of the corpus: its clips, packages and labels."""

import csv
import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from data_pipelines.corpora.open_sounds import licences

_FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClipEntry:
    """A clip of the corpus.

    Attributes:
      clip: its name, which is that of its file without the suffix.
      label: a key of `labels`.
      captions: what is true of this clip and not of every clip of its label; may be empty.
      package: Debian package.
      members: what it is made of: a path in the package; "ARCHIVE!/PATH" for a file in an archive of the
        package; several for one-shots; "FONT#BANK:PROGRAM" for a rendered instrument.
      start: where the clip begins in its recording, in seconds.
      seconds: its length. It is longer than its one-shots if they are repeated.
      licence: of the recording.
      split: "train" or "heldout".
      check: the first digits of the SHA-256 of the members' content.
    """

    clip: str
    label: str
    captions: tuple[str, ...]
    package: str
    members: tuple[str, ...]
    start: float
    seconds: float
    licence: str
    split: str
    check: str

    @property
    def file(self) -> str:
        """Name of the clip's file."""
        return f"{self.clip}.flac"

    @property
    def program(self) -> str:
        """Bank and program of a rendered instrument, or ""."""
        return self.members[0].partition("#")[2]

    @property
    def recording(self) -> str:
        """Identity of the recordings; clips that share it are never mixed."""
        return f"{self.package}:{min(self.members)}"


@dataclasses.dataclass(frozen=True, slots=True)
class PackageEntry:
    """A package: the version that the clips were cut from, and where it states their licences."""

    package: str
    version: str
    stated_in: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Label:
    """What a label sounds like.

    Attributes:
      kind: "speech", "music", "animals", "nature", "machines", "impacts" or "other".
      captions: wordings that are true of every clip, for training.
      heldout_captions: other wordings, which no training may see.
      also: labels of the same or an overlapping sound: clips of both must never meet in a mixture.
    """

    kind: str
    captions: tuple[str, ...]
    heldout_captions: tuple[str, ...]
    also: tuple[str, ...]


@functools.cache
def clips() -> tuple[ClipEntry, ...]:
    """Returns all clips, sorted by name."""
    return tuple(
        ClipEntry(
            clip=line["clip"],
            label=line["label"],
            captions=tuple(filter(None, line["captions"].split("|"))),
            package=line["package"],
            members=tuple(line["members"].split(";")),
            start=float(line["start"]),
            seconds=float(line["seconds"]),
            licence=line["licence"],
            split=line["split"],
            check=line["check"],
        )
        for line in _lines("clips.csv")
    )


@functools.cache
def packages() -> Mapping[str, PackageEntry]:
    """Returns all packages by name."""
    return {line["package"]: PackageEntry(**line) for line in _lines("packages.csv")}


@functools.cache
def labels() -> Mapping[str, Label]:
    """Returns all labels by name."""
    values = json.loads((_FOLDER / "open_sounds_labels.json").read_text("utf-8"))
    return {
        name: Label(
            kind=fields["kind"],
            captions=tuple(fields["captions"]),
            heldout_captions=tuple(fields["heldout_captions"]),
            also=tuple(fields["also"]),
        )
        for name, fields in values.items()
    }


def chosen(names: Sequence[str]) -> tuple[ClipEntry, ...]:
    """Returns the clips under some licences or families of licences; all clips for none.

    Raises:
      UsageError: a licence is unknown.
    """
    accepted = licences.check(names, {clip.licence for clip in clips()})
    return tuple(clip for clip in clips() if not accepted or licences.allows(clip.licence, accepted))


def licence_lines() -> Iterator[str]:
    """Yields a table of the licences: for each, its clips, minutes and packages."""
    by_licence: dict[str, list[ClipEntry]] = {}
    for clip in clips():
        by_licence.setdefault(clip.licence, []).append(clip)
    width = max(map(len, by_licence))
    yield f"{'licence':<{width}}  clips  minutes  packages"
    for licence, of_it in sorted(by_licence.items(), key=lambda item: -len(item[1])):
        names = ", ".join(sorted({clip.package for clip in of_it}))
        yield f"{licence:<{width}}  {len(of_it):>5}  {minutes(of_it):>7.1f}  {names}"
    yield f"{'all':<{width}}  {len(clips()):>5}  {minutes(clips()):>7.1f}"
    yield f"Families for --licences: {', '.join(licences.FAMILIES)}."


def minutes(entries: Iterable[ClipEntry]) -> float:
    """Returns the length of clips in minutes."""
    return sum(clip.seconds for clip in entries) / 60


def _lines(name: str) -> Iterator[dict[str, str]]:
    with (_FOLDER / name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
