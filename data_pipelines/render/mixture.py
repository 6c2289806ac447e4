"""One mixture: its clips heard and cut, its gains found, and its two files as bytes.

Sums run in one order and gains have nine digits, so that processors with other vector units or another
mathematical library come to the same bytes wherever the decoded sound is the same.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from audiosep_jax.audio.containers import quantise
from audiosep_jax.audio.files import read_audio
from audiosep_jax.errors import DatasetError
from audiosep_jax.evals.evaluation_set_builder import SILENCE_DB
from data_pipelines.render.draws import Draw, by_class, may_meet
from data_pipelines.render.manifest import Mixture, Part, mixture_name, segment_name, sha256_of
from data_pipelines.render.recipe import Clip, Encoding, Recipe
from data_pipelines.render.wav import wav_bytes

FULL_PEAK, PEAK = 0.9999, 0.9
TOLERANCE_DB = 0.01

OFFSETS_TRIED, CLIPS_TRIED = 8, 20
_SILENCE = 10 ** (SILENCE_DB / 10)


# (path, sample rate) -> mono waveform float32 [samples].
Hear = Callable[[Path, int], Float[np.ndarray, " samples"]]


def hear_sound_file(path: Path, sample_rate_hz: int) -> Float[np.ndarray, " samples"]:
    """Reads a sound file, its channels averaged.

    Raises:
      AudioSepError: it is missing, no sound or damaged.
    """
    return read_audio(path, sample_rate_hz=sample_rate_hz, mono=True).waveform[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rendered:
    """A mixture with the bytes of its files, and the hashes of the clips that it was made from."""

    mixture: Mixture
    files: dict[str, bytes]
    sources: dict[str, str]


def render_draw(draw: Draw, *, clips: Sequence[Clip], recipe: Recipe, root: Path, hear: Hear) -> Rendered:
    """Renders a mixture as it was drawn, a function of its arguments and the files alone.

    A clip is cut where its mean energy over the segment is -60 dB of full scale or more; where eight
    places are fainter, another clip takes its turn: for the target one of the same class, for an
    interferer any that may meet the others.

    Raises:
      AudioSepError: a file cannot be read, or no clip has an audible part.
    """
    rng = np.random.default_rng([recipe.seed, draw.index])
    chosen: list[Clip] = []
    segments, parts = [], []
    for place in draw.clips:
        for clip in _candidates(place, draw, clips, chosen, rng):
            found = _audible(hear(root / clip.file, recipe.sample_rate_hz), recipe=recipe, rng=rng)
            if found is not None:
                break
        else:
            raise DatasetError(
                f"none of the clips tried for mixture {draw.index}, such as {clips[place].file}, has an "
                f"audible segment of {recipe.seconds:g} s (mean energy of {SILENCE_DB:.0f} dB of full "
                "scale): give louder clips."
            )
        offset, segment = found
        chosen.append(clip)
        segments.append(segment)
        parts.append(
            Part(
                file=clip.file,
                labels=clip.labels,
                offset_seconds=offset,
                gain=1.0,
                recording=clip.recording,
            )
        )
    target = chosen[0]
    caption = draw.label.replace("_", " ")
    if recipe.query == "caption":
        caption = target.captions[int(rng.integers(len(target.captions)))]
    gains = find_gains(segments, snr_db=draw.snr_db)
    parts = [dataclasses.replace(part, gain=gain) for part, gain in zip(parts, gains, strict=True)]
    return _written(
        segments,
        Mixture(
            index=draw.index,
            caption=caption,
            label=draw.label,
            snr_db=draw.snr_db,
            reached_db=0.0,
            parts=tuple(parts),
            segment_sha256="",
            mixture_sha256="",
        ),
        recipe=recipe,
        sources={clip.file: sha256_of(root / clip.file) for clip in chosen},
    )


def render_again(mixture: Mixture, *, recipe: Recipe, root: Path, hear: Hear) -> Rendered:
    """Renders a mixture of a manifest, by its offsets and gains.

    Raises:
      AudioSepError: a file cannot be read, or ends before its offset.
    """
    segments = []
    for part in mixture.parts:
        waveform = hear(root / part.file, recipe.sample_rate_hz)
        if round(part.offset_seconds * recipe.sample_rate_hz) >= len(waveform):
            raise DatasetError(
                f"{root / part.file} ends before {part.offset_seconds} s, where mixture {mixture.index} cuts "
                "it: give the file that the corpus was made from."
            )
        segments.append(_cut(waveform, part.offset_seconds, recipe))
    return _written(segments, mixture, recipe=recipe, sources={})


def find_gains(segments: Sequence[Float[np.ndarray, " samples"]], *, snr_db: float) -> tuple[float, ...]:
    """The gains of target and interferers in the files.

    Interferers are brought to one energy; their sum lies `snr_db` below the target's. What peaks above
    full scale is scaled to 0.9; what is so faint that 16 bits would change its SNR is raised until the
    fainter of target and interferers has -60 dB of full scale, or the peak 0.9.

    Args:
      segments: `[samples]` each, the target first.
      snr_db: energy of the target over that of the interferers' sum.

    Raises:
      AudioSepError: the interferers cancel each other out.
    """
    energies = [_energy(segment) for segment in segments]
    gains = [1.0] + [np.sqrt(energies[0] / energy) for energy in energies[1:]]
    noise = _sum(segments[1:], gains[1:])
    left = _energy(noise)
    if left < 1e-6 * energies[0]:
        raise DatasetError("the interferers of a mixture cancel each other out: take another seed.")
    level = np.sqrt(energies[0] / left * 10 ** (-snr_db / 10))
    gains = [1.0] + [gain * level for gain in gains[1:]]
    noise = noise * level
    peak = max(float(np.abs(one).max()) for one in (segments[0], noise, segments[0] + noise))
    faintest = min(energies[0], energies[0] * 10 ** (-snr_db / 10))
    scale = 1.0
    if peak > FULL_PEAK:
        scale = PEAK / peak
    elif faintest < _SILENCE:
        scale = max(1.0, min(np.sqrt(_SILENCE / faintest), PEAK / peak))
    return tuple(float(f"{gain * scale:.9g}") for gain in gains)


def _candidates(
    place: int, draw: Draw, clips: Sequence[Clip], chosen: Sequence[Clip], rng: np.random.Generator
) -> Iterator[Clip]:
    """The clip that was drawn and others that may stand for it, all fit to meet those before it."""
    if all(may_meet(clips[place], one) for one in chosen):
        yield clips[place]
    group = range(len(clips)) if chosen else by_class(clips)[draw.label]
    fit = (group[int(index)] for index in rng.permutation(len(group)))
    fit = (other for other in fit if all(may_meet(clips[other], one) for one in chosen))
    yield from (clips[other] for other in itertools.islice(fit, CLIPS_TRIED))


def _audible(
    waveform: np.ndarray, *, recipe: Recipe, rng: np.random.Generator
) -> tuple[float, np.ndarray] | None:
    """An offset in seconds and the segment from there, or None where eight places are too faint."""
    spare = max(0.0, len(waveform) / recipe.sample_rate_hz - recipe.seconds)
    for _ in range(OFFSETS_TRIED if spare else 1):
        offset = round(rng.uniform(0, spare), 3) if spare else 0.0
        segment = _cut(waveform, offset, recipe)
        if _energy(segment) >= _SILENCE:
            return offset, segment
    return None


def _cut(waveform: np.ndarray, offset_seconds: float, recipe: Recipe) -> np.ndarray:
    """`[samples]` float64 from the offset on, zeros behind the end."""
    start = round(offset_seconds * recipe.sample_rate_hz)
    segment = np.zeros(recipe.samples)
    crop = waveform[start : start + recipe.samples]
    segment[: len(crop)] = crop
    return segment


def _energy(waveform: np.ndarray) -> float:
    """Mean square, added up from first to last: `sum` has another order on every processor."""
    return float(np.cumsum(waveform * waveform)[-1]) / len(waveform)


def _sum(segments: Sequence[np.ndarray], gains: Sequence[float]) -> np.ndarray:
    total = np.zeros_like(segments[0])
    for segment, gain in zip(segments, gains, strict=True):
        total = total + segment * gain
    return total


def _written(
    segments: Sequence[np.ndarray], mixture: Mixture, *, recipe: Recipe, sources: dict[str, str]
) -> Rendered:
    target = segments[0] * mixture.parts[0].gain
    noise = _sum(segments[1:], [part.gain for part in mixture.parts[1:]])
    target, whole = _encoded(target, noise, recipe.encoding)
    exact = target.astype(np.float64)
    with np.errstate(divide="ignore"):  # 16 bits may leave nothing of the noise
        reached_db = float(
            10 * np.log10(_energy(exact) / np.float64(_energy(whole.astype(np.float64) - exact)))
        )
    reached_db = round(reached_db, 4)
    if abs(reached_db - mixture.snr_db) > TOLERANCE_DB:
        raise DatasetError(
            f"mixture {mixture.index} of {', '.join(part.file for part in mixture.parts)} reaches "
            f"{reached_db} dB in {recipe.encoding} where {mixture.snr_db:g} dB were asked for: write FLOAT, "
            "or ask for less."
        )
    files = {
        segment_name(mixture.index): wav_bytes(target, sample_rate_hz=recipe.sample_rate_hz),
        mixture_name(mixture.index): wav_bytes(whole, sample_rate_hz=recipe.sample_rate_hz),
    }
    segment_sha256, mixture_sha256 = (hashlib.sha256(content).hexdigest() for content in files.values())
    return Rendered(
        mixture=dataclasses.replace(
            mixture, reached_db=reached_db, segment_sha256=segment_sha256, mixture_sha256=mixture_sha256
        ),
        files=files,
        sources=sources,
    )


def _encoded(target: np.ndarray, noise: np.ndarray, encoding: Encoding) -> tuple[np.ndarray, np.ndarray]:
    """Target and mixture as they are stored. In 16 bits the mixture is the sum of what was rounded."""
    if encoding == "FLOAT":
        return target.astype(np.float32), (target + noise).astype(np.float32)
    steps = quantise(target, 16)
    return steps.astype(np.int16), (steps + quantise(noise, 16)).astype(np.int16)
