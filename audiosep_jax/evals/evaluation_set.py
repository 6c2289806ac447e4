"""A fixed evaluation set as data: the clips of each mixture, their offsets, the SNR, and the query."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from audiosep_jax.audio.gains import gain_at_snr, peak_scale
from audiosep_jax.audio.reading import read_audio
from audiosep_jax.config import MAX_RATIO_DB
from audiosep_jax.errors import EvaluationError, listed
from audiosep_jax.utils import serialization
from audiosep_jax.utils.atomic import replacing

VERSION = 1

MAX_SECONDS = 3600.0
MIN_RATE_HZ, MAX_RATE_HZ = 1000, 768_000
MAX_OFFSET_SECONDS = 1e6

SUFFIXES = (".flac", ".wav", ".ogg", ".opus", ".mp3")
"""Of the sounds that a name without a suffix stands for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """One side of a mixture.

    Attributes:
      file: path below the set's root, with forward slashes. Without a suffix it is the name of a sound file
        with any suffix, see `find_file`.
      label: the class of the sound.
      offset_seconds: where the segment starts in the file.
    """

    file: str
    label: str
    offset_seconds: float = 0.0

    def __post_init__(self) -> None:
        # This refuses NaN, too, as the comparisons below do: every comparison with NaN is false.
        if not 0 <= self.offset_seconds <= MAX_OFFSET_SECONDS:
            raise EvaluationError(
                f"{self.file} has offset_seconds {self.offset_seconds}: give 0 to {MAX_OFFSET_SECONDS:g} s."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One mixture and its query.

    Attributes:
      caption: names the target.
      snr_db: energy of the target over that of the interferer, both over the whole segment.
      absent_caption: names neither sound; where given, it is the query, and the target is silence.
    """

    target: Source
    interferer: Source
    caption: str
    snr_db: float = 0.0
    absent_caption: str = ""

    def __post_init__(self) -> None:
        if not -MAX_RATIO_DB <= self.snr_db <= MAX_RATIO_DB:
            raise EvaluationError(
                f"the mixture of {self.target.file} and {self.interferer.file} has snr_db {self.snr_db}: "
                f"give -{MAX_RATIO_DB} to {MAX_RATIO_DB} dB."
            )

    @property
    def query(self) -> str:
        """The sentence that the separator is given."""
        return self.absent_caption or self.caption

    @property
    def is_absent(self) -> bool:
        """Whether the query names no sound of the mixture."""
        return bool(self.absent_caption)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """Mixtures of named files, the same on every machine.

    Attributes:
      version: of this format.
      name: how tables name the set.
      description: where the files come from.
      sample_rate_hz: rate at which mixtures are rendered and estimates are measured.
      seconds: length of every segment.
      seed: that the set was drawn with.
      kinds: the kind of sound of each label, such as "music"; empty if results are not grouped by kind.
      entries: the mixtures.
    """

    version: int = VERSION
    name: str
    description: str = ""
    sample_rate_hz: int
    seconds: float
    seed: int
    kinds: dict[str, str] = dataclasses.field(default_factory=dict)
    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise EvaluationError(
                f"evaluation set {self.name!r} has format version {self.version}, but this release reads "
                f"version {VERSION}: use the release that wrote it, or make the set again."
            )
        if not MIN_RATE_HZ <= self.sample_rate_hz <= MAX_RATE_HZ:
            raise EvaluationError(
                f"evaluation set {self.name!r} has sample_rate_hz {self.sample_rate_hz}: "
                f"give {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz."
            )
        if not 1 / self.sample_rate_hz <= self.seconds <= MAX_SECONDS:
            raise EvaluationError(
                f"evaluation set {self.name!r} has segments of {self.seconds} s: give a positive length "
                f"of at most {MAX_SECONDS:g} s."
            )
        if not self.entries:
            raise EvaluationError(f"evaluation set {self.name!r} has no entries.")
        unknown = sorted({entry.target.label for entry in self.entries} - set(self.kinds))
        if self.kinds and unknown:
            raise EvaluationError(
                f"evaluation set {self.name!r} has no kind for {listed(unknown)}: add each to its kinds."
            )

    @property
    def samples(self) -> int:
        """Samples of every segment."""
        return round(self.seconds * self.sample_rate_hz)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """A rendered mixture.

    Attributes:
      mixture: `[samples]` float32.
      target: `[samples]` float32; silence where the query names no sound of the mixture.
      query: the sentence that the separator is given.
      entry: what the example was rendered from.
    """

    mixture: Float[np.ndarray, " samples"]
    target: Float[np.ndarray, " samples"]
    query: str
    entry: Entry


def load_evaluation_set(path: str | Path) -> EvaluationSet:
    """Reads a set from its JSON file.

    Raises:
      EvaluationError: the file is missing, is no JSON, or does not have the fields of a set.
    """
    return serialization.load_json(
        EvaluationSet, path, what="the JSON file of an evaluation set", kind=EvaluationError
    )


def save_evaluation_set(evaluation_set: EvaluationSet, path: str | Path) -> None:
    """Writes a set as JSON, one entry per line so that changes are readable."""
    values = dataclasses.asdict(evaluation_set)
    if not evaluation_set.kinds:
        del values["kinds"]
    entries = [json.dumps(entry, ensure_ascii=False) for entry in values.pop("entries")]
    head = json.dumps(values, indent=1, ensure_ascii=False).removesuffix("\n}")
    text = head + ',\n "entries": [\n  ' + ",\n  ".join(entries) + "\n ]\n}\n"
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


def check_files(evaluation_set: EvaluationSet, root: str | Path) -> None:
    """Checks before the work starts that every file of a set exists.

    Raises:
      EvaluationError: the root is no folder, or files are missing below it.
    """
    root = Path(root)
    if not root.is_dir():
        raise EvaluationError(f"{root} is not a folder: give the folder that holds the set's files.")
    files = {source.file for entry in evaluation_set.entries for source in (entry.target, entry.interferer)}
    missing = sorted(file for file in files if find_file(root, file) is None)
    if missing:
        raise EvaluationError(
            f"{len(missing)} of {len(files)} files of evaluation set {evaluation_set.name!r} are missing "
            f"below {root}: {listed(missing)}; give the folder that holds them."
        )


def find_file(root: str | Path, file: str) -> Path | None:
    """Returns the path of a set's file, or None if there is none.

    A name without a suffix stands for a sound in any format, such as FLAC here and Opus there. If there are
    several, the first in the order of `SUFFIXES` is taken.
    """
    path = Path(root) / file
    candidates = (path.with_name(path.name + suffix) for suffix in ("", *SUFFIXES))
    return next((each for each in candidates if each.is_file()), None)


def read_segment(
    source: Source, *, root: str | Path, sample_rate_hz: int, samples: int
) -> Float[np.ndarray, " samples"]:
    """Reads one side of a mixture: mono, resampled, cut at its offset, padded with zeros at its end.

    Raises:
      AudioFileError: the file cannot be read.
      EvaluationError: it ends before the offset.
    """
    path = find_file(root, source.file) or Path(root) / source.file
    waveform = read_audio(path, sample_rate_hz=sample_rate_hz, mono=True).waveform[0]
    start = round(source.offset_seconds * sample_rate_hz)
    if not 0 <= start < len(waveform):
        raise EvaluationError(
            f"{path} lasts {len(waveform) / sample_rate_hz:.2f} s, but the evaluation "
            f"set cuts it at {source.offset_seconds} s: give the file that the set was made with."
        )
    segment = np.zeros(samples, np.float32)
    crop = waveform[start : start + samples]
    segment[: len(crop)] = crop
    return segment


def render(entry: Entry, *, root: str | Path, sample_rate_hz: int, seconds: float) -> Example:
    """Builds the mixture of an entry from its files.

    The interferer is scaled to `snr_db` below the target's energy over the whole segment. If the mixture's
    peak exceeds 1, mixture and target are both scaled by 0.9/peak.

    Args:
      entry: the mixture.
      root: folder of the files.
      sample_rate_hz: rate of the rendered waveforms.
      seconds: their length.

    Raises:
      AudioFileError: a file cannot be read.
      EvaluationError: a file ends before its offset, or one side is silent.
    """
    samples = round(seconds * sample_rate_hz)
    target, interferer = (
        read_segment(source, root=root, sample_rate_hz=sample_rate_hz, samples=samples).astype(np.float64)
        for source in (entry.target, entry.interferer)
    )
    energies = [float(np.mean(waveform * waveform)) for waveform in (target, interferer)]
    for source, energy in zip((entry.target, entry.interferer), energies, strict=True):
        if energy == 0:
            raise EvaluationError(
                f"{Path(root) / source.file} is silent from {source.offset_seconds} s on and cannot be "
                f"mixed at {entry.snr_db} dB: give the file that the set was made with."
            )
    mixture = target + interferer * gain_at_snr(*energies, snr_db=entry.snr_db)
    scale = peak_scale(float(np.abs(mixture).max()))
    answer = np.zeros_like(target) if entry.is_absent else target * scale
    return Example(
        mixture=(mixture * scale).astype(np.float32),
        target=answer.astype(np.float32),
        query=entry.query,
        entry=entry,
    )


def render_entries(
    evaluation_set: EvaluationSet, entries: Sequence[Entry], *, root: str | Path
) -> tuple[Float[np.ndarray, "examples samples"], Float[np.ndarray, "examples samples"]]:
    """Renders some entries of a set as mixtures and targets, `[examples, samples]` float32 each."""
    examples = [
        render(entry, root=root, sample_rate_hz=evaluation_set.sample_rate_hz, seconds=evaluation_set.seconds)
        for entry in entries
    ]
    return np.stack([one.mixture for one in examples]), np.stack([one.target for one in examples])
