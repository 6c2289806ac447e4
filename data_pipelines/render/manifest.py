"""The manifest of a rendered corpus: offsets, gains and hashes, from which its files can be made again."""

import dataclasses
import hashlib
import json
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path, PurePosixPath

import numpy as np
import soundfile
import soxr

from audiosep_jax.audio.containers import FORMATS
from audiosep_jax.errors import DatasetError, printable
from audiosep_jax.utils import serialization
from data_pipelines.render.recipe import Recipe

VERSION = 1
NAME = "manifest.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One sound of a mixture: the segment of a file from the offset on, times the gain."""

    file: str
    labels: tuple[str, ...]
    offset_seconds: float
    gain: float
    recording: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
    """A rendered mixture of parts, the target first.

    `caption` is the query, `label` the target's class in tables, "" if it has none. `snr_db` is the energy of
    the target over that of all others as drawn, `reached_db` the same as measured from the two files.
    """

    index: int
    caption: str
    label: str
    snr_db: float
    reached_db: float
    parts: tuple[Part, ...]
    segment_sha256: str
    mixture_sha256: str

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 by file name."""
        return {segment_name(self.index): self.segment_sha256, mixture_name(self.index): self.mixture_sha256}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceFile:
    """The file of a clip that is in the corpus."""

    file: str
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Library:
    """A library, or the machine, on which the bytes depend."""

    name: str
    version: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """A rendered corpus.

    Attributes:
      version: of this format.
      name: of the corpus, and of its table, NAME_eval.csv.
      digest: SHA-256 over the names and hashes of all files: corpora with equal digests are equal.
      plan: hash of clips, recipe and libraries; an interrupted rendering resumes only if it is equal.
      recipe: how the mixtures were drawn.
      libraries: those that decoded, resampled and drew.
      sources: the files of all clips in the corpus.
      mixtures: in the order of their numbers.
    """

    version: int = VERSION
    name: str
    digest: str
    plan: str
    recipe: Recipe
    libraries: tuple[Library, ...]
    sources: tuple[SourceFile, ...]
    mixtures: tuple[Mixture, ...]

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise DatasetError(
                f"the manifest of {self.name!r} has format version {self.version}, but this release reads "
                f"version {VERSION}: use the release that wrote it."
            )
        if [mixture.index for mixture in self.mixtures] != list(
            range(len(self.mixtures))
        ) or not self.mixtures:
            raise DatasetError(f"the manifest of {self.name!r} lacks mixtures: get the whole file.")
        for source in self.sources:
            path = PurePosixPath(source.file)
            if path.is_absolute() or ".." in path.parts:
                raise DatasetError(
                    f"the manifest of {self.name!r} names {printable(source.file)}, which lies outside of "
                    "the clips' folder: get it from a source that you trust."
                )
        known = {source.file for source in self.sources}
        if any(part.file not in known for mixture in self.mixtures for part in mixture.parts):
            raise DatasetError(
                f"the manifest of {self.name!r} has no hash for some of its clips: get the whole file."
            )


def segment_name(index: int) -> str:
    """Returns the name of a target's file, as in the PyTorch AudioSep's corpora."""
    return f"segment-{index}.wav"


def mixture_name(index: int) -> str:
    """Returns the name of a mixture's file, as in the PyTorch AudioSep's corpora."""
    return f"mixture-{index}.wav"


def table_name(name: str) -> str:
    """Returns the name of a corpus's table, as in the PyTorch AudioSep's corpora."""
    return f"{name}_eval.csv"


def libraries(files: Iterable[str]) -> tuple[Library, ...]:
    """Returns the libraries that draw, decode and resample, and the machine: the bytes depend on them.

    PyAV is among them if libsndfile cannot read one of the files.
    """
    versions = {
        "audiosep_jax": _version("audiosep_jax"),
        "numpy": np.__version__,
        "libsndfile": soundfile.__libsndfile_version__,
        "soxr": soxr.__version__,
        "libsoxr": soxr.__libsoxr_version__,
        "machine": platform.machine(),
    }
    if any(PurePosixPath(file).suffix.lower() not in FORMATS for file in files):
        versions["av"] = _version("av")
    return tuple(Library(name=name, version=version) for name, version in versions.items())


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def digest_of(mixtures: Iterable[Mixture]) -> str:
    """Returns the SHA-256 over the names and hashes of all files."""
    digest = hashlib.sha256()
    for mixture in mixtures:
        for name, sha256 in mixture.hashes.items():
            digest.update(f"{sha256}  {name}\n".encode())
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes; `DatasetError` if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise DatasetError(
            f"{printable(path)} does not exist: give the folder that holds the clips."
        ) from None
    except OSError as error:
        raise DatasetError(f"{printable(path)} cannot be read: {error.strerror}.") from error


def load_manifest(path: str | Path) -> Manifest:
    """Reads a manifest.

    Raises:
      DatasetError: the file is missing or not a manifest; the text names it.
    """
    return serialization.load_json(
        Manifest, path, what="the manifest.json of a rendered corpus", kind=DatasetError
    )


def manifest_text(manifest: Manifest) -> str:
    """Returns a manifest as JSON with one line per source and mixture, so that a diff is readable."""
    values = dataclasses.asdict(manifest)
    lists = {key: values.pop(key) for key in ("sources", "mixtures")}
    parts = [json.dumps(values, indent=1, ensure_ascii=False).removesuffix("\n}")]
    for key, items in lists.items():
        lines = ",\n  ".join(json.dumps(item, ensure_ascii=False) for item in items)
        parts.append(f' "{key}": [\n  {lines}\n ]')
    return ",\n".join(parts) + "\n}\n"
