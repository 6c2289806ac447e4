"""Draws a fixed evaluation set from labelled clips."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from audiosep_jax.audio.reading import read_audio
from audiosep_jax.errors import EvaluationError, listed
from audiosep_jax.evals.evaluation_set import Entry, EvaluationSet, Source, find_file

SILENCE_DB = -60.0
SILENCE_POWER = 10 ** (SILENCE_DB / 10)
"""A segment with a lower mean square counts as silent."""

ATTEMPTS = 8

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """A labelled sound file.

    Attributes:
      file: path relative to the set's root.
      label: the class of the sound.
      recording: what the file was cut from; by default the file is a recording of its own.
    """

    file: str
    label: str
    recording: str = ""


def make_evaluation_set(
    clips: Sequence[Clip],
    *,
    name: str,
    root: str | Path,
    captions: Mapping[str, Sequence[str]],
    per_class: int,
    absent_per_class: int = 0,
    snr_db: float = 0.0,
    seconds: float = 5.0,
    sample_rate_hz: int = 32_000,
    seed: int = 0,
    description: str = "",
) -> EvaluationSet:
    """Draws mixtures of two different classes; the same arguments give the same set.

    Each class is the target `per_class` times, and `absent_per_class` times more with a query that names a
    class that is not in the mixture. Its clips, captions and interfering classes take turns in a shuffled
    order, so all are used as evenly as their numbers allow. A segment with a mean energy below -60 dB of full
    scale is drawn again, from the next clip. `captions` has the sentences for each label.

    Raises:
      EvaluationError: there are fewer than two classes (three with absent queries), a label has no caption,
        or a class has no audible segment.
      AudioFileError: a file cannot be read.
    """
    labels = sorted({clip.label for clip in clips})
    needed = 3 if absent_per_class else 2
    if len(labels) < needed:
        raise EvaluationError(
            f"evaluation set {name!r} needs clips of {needed} classes or more, but has "
            f"{listed(labels) or 'none'}: add clips of other classes."
        )
    check_captions(labels, captions, name=name)

    rng = np.random.default_rng(seed)
    targets = Crops(clips, root=Path(root), seconds=seconds, rng=rng)
    interferers = Crops(clips, root=Path(root), seconds=seconds, rng=rng)
    entries = []
    for absent, count in ((False, per_class), (True, absent_per_class)):
        for label in labels:
            others = [other for other in labels if other != label]
            opponents, sentences = shuffled_forever(others, rng), shuffled_forever(captions[label], rng)
            for _ in range(count):
                other = next(opponents)
                absent_caption = ""
                if absent:
                    unheard = rng.choice(np.asarray([one for one in others if one != other]))
                    absent_caption = str(rng.choice(np.asarray(captions[str(unheard)])))
                entries.append(
                    Entry(
                        target=targets.draw(label),
                        interferer=interferers.draw(other),
                        caption=next(sentences),
                        snr_db=snr_db,
                        absent_caption=absent_caption,
                    )
                )
    return EvaluationSet(
        name=name,
        description=description,
        sample_rate_hz=sample_rate_hz,
        seconds=seconds,
        seed=seed,
        entries=tuple(entries),
    )


def check_captions(labels: Sequence[str], captions: Mapping[str, Sequence[str]], *, name: str) -> None:
    """Checks that every label of a set has a caption.

    Raises:
      EvaluationError: a label has none.
    """
    if lacking := [label for label in labels if not captions.get(label)]:
        raise EvaluationError(
            f"evaluation set {name!r} has no caption for {listed(lacking)}: add one for each."
        )


def shuffled_forever(items: Sequence[T], rng: np.random.Generator) -> Iterator[T]:
    """Yields all items in a shuffled order, then in another one, without end."""
    while True:
        for index in rng.permutation(len(items)):
            yield items[int(index)]


def draw_offset(samples: int, *, rate: int, seconds: float, rng: np.random.Generator) -> float:
    """Returns where a segment starts in a file, in seconds with three digits; 0 if the file is no longer."""
    spare = max(0.0, samples / rate - seconds)
    return round(float(rng.uniform(0, spare)), 3) if spare else 0.0


class Crops:
    """Draws audible segments; the clips of a label take turns in a shuffled order."""

    def __init__(self, clips: Sequence[Clip], *, root: Path, seconds: float, rng: np.random.Generator):
        self._root = root
        self._recordings = {clip.file: clip.recording or clip.file for clip in clips}
        self._seconds = seconds
        self._rng = rng
        by_label: dict[str, list[str]] = {}
        for clip in sorted(clips, key=lambda clip: (clip.label, clip.file)):
            by_label.setdefault(clip.label, []).append(clip.file)
        self._count = {label: len(files) for label, files in by_label.items()}
        self._files = {label: shuffled_forever(files, rng) for label, files in by_label.items()}

    def draw(self, label: str, *, beside: Source | None = None) -> Source:
        """Draws a segment of a label, from another recording than that of `beside`.

        Raises:
          EvaluationError: the label has no audible segment.
          AudioFileError: a file cannot be read.
        """
        for _ in range(ATTEMPTS * self._count[label]):
            file = next(self._files[label])
            if beside and self._recordings[file] == self._recordings[beside.file]:
                continue
            recording = read_audio(find_file(self._root, file) or self._root / file, mono=True)
            power, rate = np.square(recording.waveform[0]), recording.sample_rate_hz
            offset = draw_offset(len(power), rate=rate, seconds=self._seconds, rng=self._rng)
            start = round(offset * rate)
            samples = round(self._seconds * rate)
            # A short file is padded, so the mean is taken over the whole segment.
            if power[start : start + samples].sum() / samples >= SILENCE_POWER:
                return Source(file=file, label=label, offset_seconds=offset)
        other = f" from another recording than {beside.file}" if beside else ""
        raise EvaluationError(
            f"no clip of class {label!r} below {self._root} has an audible segment of {self._seconds} s"
            f"{other} (mean energy of {SILENCE_DB:.0f} dB of full scale): give louder files."
        )
