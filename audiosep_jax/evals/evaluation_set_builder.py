"""Drawing a fixed evaluation set from labelled clips."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from audiosep_jax.audio.files import read_audio
from audiosep_jax.errors import EvaluationError
from audiosep_jax.evals.evaluation_set import Entry, EvaluationSet, Source

SILENCE_DB = -60.0
ATTEMPTS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """A labelled sound file, its path relative to the set's root."""

    file: str
    label: str


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
    """Draws mixtures of two different classes, the same for the same arguments.

    Each class is the target `per_class` times. Its clips, its captions, and the other classes as its
    interferers take turns in a shuffled order, so that all are used as evenly as their numbers allow. A crop
    whose mean energy lies below -60 dB of full scale is drawn again, from the next clip.

    Args:
      clips: the files to draw from.
      name: of the set.
      root: folder that the clips' paths start from; the files are read to check their energy.
      captions: sentences that name each label.
      per_class: mixtures per target class.
      absent_per_class: further mixtures per target class whose query names a class that is not in them.
      snr_db: energy of the target over the interferer's.
      seconds: length of a segment.
      sample_rate_hz: rate of the rendered set.
      seed: of all draws.
      description: where the files come from.

    Raises:
      AudioSepError: fewer than two classes (three with absent queries), a label without a caption, an
        unreadable file, or a class with no audible crop.
    """
    labels = sorted({clip.label for clip in clips})
    needed = 3 if absent_per_class else 2
    if len(labels) < needed:
        raise EvaluationError(
            f"evaluation set {name!r} needs clips of {needed} classes or more, but has "
            f"{', '.join(labels) or 'none'}."
        )
    uncaptioned = [label for label in labels if not captions.get(label)]
    if uncaptioned:
        raise EvaluationError(
            f"evaluation set {name!r} has no caption for {', '.join(uncaptioned)}: add one each."
        )

    rng = np.random.default_rng(seed)
    targets = _Crops(clips, root=Path(root), seconds=seconds, rng=rng)
    interferers = _Crops(clips, root=Path(root), seconds=seconds, rng=rng)
    entries = []
    for absent, count in ((False, per_class), (True, absent_per_class)):
        for label in labels:
            others = [other for other in labels if other != label]
            opponents, sentences = _turns(others, rng), _turns(captions[label], rng)
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


def _turns(items: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    """Yields the items in a shuffled order, again and again."""
    while True:
        for index in rng.permutation(len(items)):
            yield items[int(index)]


class _Crops:
    """Draws audible crops, the clips of a label taking turns."""

    def __init__(self, clips: Sequence[Clip], *, root: Path, seconds: float, rng: np.random.Generator):
        self._root = root
        self._seconds = seconds
        self._rng = rng
        by_label: dict[str, list[str]] = {}
        for clip in sorted(clips, key=lambda clip: (clip.label, clip.file)):
            by_label.setdefault(clip.label, []).append(clip.file)
        self._count = {label: len(files) for label, files in by_label.items()}
        self._files = {label: _turns(files, rng) for label, files in by_label.items()}

    def draw(self, label: str) -> Source:
        for _ in range(ATTEMPTS * self._count[label]):
            file = next(self._files[label])
            recording = read_audio(self._root / file, mono=True)
            power, rate = np.square(recording.waveform[0]), recording.sample_rate_hz
            spare = max(0.0, len(power) / rate - self._seconds)
            offset = round(float(self._rng.uniform(0, spare)), 3) if spare else 0.0
            start = round(offset * rate)
            samples = round(self._seconds * rate)
            # Padding counts: a blip in a short file is as faint as the segment it ends up in.
            if power[start : start + samples].sum() / samples >= 10 ** (SILENCE_DB / 10):
                return Source(file=file, label=label, offset_seconds=offset)
        raise EvaluationError(
            f"no clip of class {label!r} below {self._root} has an audible segment of {self._seconds} s "
            f"(mean energy of {SILENCE_DB:.0f} dB of full scale): give louder files."
        )
