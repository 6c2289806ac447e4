"""Renders one mixture: cuts its clips, finds their gains and encodes its two files.

Sums run in one order and gains have nine digits. So the same decoded sound gives the same bytes on processors
with other vector units or another mathematical library.
"""

import dataclasses
import hashlib
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int16
from scipy.io import wavfile

from audiosep_jax.audio.gains import PEAK, gain_at_snr
from audiosep_jax.audio.pcm import quantise
from audiosep_jax.audio.reading import read_audio
from audiosep_jax.errors import AudioFileError, DatasetError
from audiosep_jax.evals.evaluation_set_builder import SILENCE_DB, SILENCE_POWER, draw_offset
from data_pipelines.render.draws import Draw, by_class, may_meet
from data_pipelines.render.manifest import Mixture, Part, mixture_name, segment_name, sha256_of
from data_pipelines.render.recipe import Clip, Encoding, Recipe

FULL_PEAK = 0.9999
TOLERANCE_DB = 0.01

OFFSETS_TRIED, CLIPS_TRIED = 8, 20

# (path, sample rate) -> mono waveform float32 [samples].
ReadClip = Callable[[Path, int], Float[np.ndarray, " samples"]]


def read_sound_file(path: Path, sample_rate_hz: int) -> Float[np.ndarray, " samples"]:
    """Reads a sound file and averages its channels."""
    return read_audio(path, sample_rate_hz=sample_rate_hz, mono=True).waveform[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rendered:
    """A mixture, the content of its files by name, and the SHA-256 of its clips by file."""

    mixture: Mixture
    files: dict[str, bytes]
    sources: dict[str, str]


def render_draw(draw: Draw, *, clips: Sequence[Clip], recipe: Recipe, root: Path, hear: ReadClip) -> Rendered:
    """Renders a drawn mixture; depends on the arguments and the clips' files alone.

    A segment of a clip needs a mean energy of -60 dB of full scale or more. If eight segments are fainter,
    another clip takes its place: for the target one of the same class, for an interferer any that may meet
    the others.

    Raises:
      AudioFileError: a file cannot be read.
      DatasetError: none of the tried clips has an audible segment.
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


def render_again(mixture: Mixture, *, recipe: Recipe, root: Path, hear: ReadClip) -> Rendered:
    """Renders a mixture of a manifest with its offsets and gains.

    Raises:
      AudioSepError: a file cannot be read or ends before its offset.
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
    """Returns the gains in the files of `segments`, the target first.

    All interferers get the same energy; that of their sum is `snr_db` below the target's. A mixture that
    peaks above full scale is scaled to a peak of 0.9. A mixture so faint that 16 bits would change its SNR is
    raised until the fainter of target and interferers has -60 dB of full scale, or the peak is 0.9.

    Raises:
      DatasetError: the interferers cancel each other out.
    """
    energies = [_energy(segment) for segment in segments]
    gains = [1.0] + [np.sqrt(energies[0] / energy) for energy in energies[1:]]
    noise = _sum(segments[1:], gains[1:])
    left = _energy(noise)
    if left < 1e-6 * energies[0]:
        raise DatasetError("the interferers of a mixture cancel each other out: take another seed.")
    level = gain_at_snr(energies[0], left, snr_db=snr_db)
    gains = [1.0] + [gain * level for gain in gains[1:]]
    noise = noise * level
    peak = max(float(np.abs(one).max()) for one in (segments[0], noise, segments[0] + noise))
    faintest = min(energies[0], energies[0] * 10 ** (-snr_db / 10))
    scale = 1.0
    if peak > FULL_PEAK:
        scale = PEAK / peak
    elif faintest < SILENCE_POWER:
        scale = max(1.0, min(np.sqrt(SILENCE_POWER / faintest), PEAK / peak))
    return tuple(float(f"{gain * scale:.9g}") for gain in gains)


def _candidates(
    place: int, draw: Draw, clips: Sequence[Clip], chosen: Sequence[Clip], rng: np.random.Generator
) -> Iterator[Clip]:
    """Yields the drawn clip and clips that may replace it, all of which may meet the chosen ones."""
    if all(may_meet(clips[place], one) for one in chosen):
        yield clips[place]
    group = range(len(clips)) if chosen else by_class(clips)[draw.label]
    fit = (group[int(index)] for index in rng.permutation(len(group)))
    fit = (other for other in fit if all(may_meet(clips[other], one) for one in chosen))
    yield from (clips[other] for other in itertools.islice(fit, CLIPS_TRIED))


def _audible(
    waveform: np.ndarray, *, recipe: Recipe, rng: np.random.Generator
) -> tuple[float, np.ndarray] | None:
    """Returns an offset in seconds and the segment from there, or None if eight segments are too faint."""
    for _ in range(OFFSETS_TRIED):
        offset = draw_offset(len(waveform), rate=recipe.sample_rate_hz, seconds=recipe.seconds, rng=rng)
        segment = _cut(waveform, offset, recipe)
        if _energy(segment) >= SILENCE_POWER:
            return offset, segment
    return None


def _cut(waveform: np.ndarray, offset_seconds: float, recipe: Recipe) -> np.ndarray:
    """Returns `[samples]` float64 from the offset on, with zeros after the end."""
    start = round(offset_seconds * recipe.sample_rate_hz)
    segment = np.zeros(recipe.samples)
    crop = waveform[start : start + recipe.samples]
    segment[: len(crop)] = crop
    return segment


def _energy(waveform: np.ndarray) -> float:
    """Returns the mean square, summed from first to last: the order of `sum` depends on the processor."""
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
    with np.errstate(divide="ignore"):  # 16 bits may round all of the noise to zero
        reached_db = float(
            10 * np.log10(_energy(exact) / np.float64(_energy(whole.astype(np.float64) - exact)))
        )
    reached_db = round(reached_db, 4)
    if abs(reached_db - mixture.snr_db) > TOLERANCE_DB:
        raise DatasetError(
            f"mixture {mixture.index} of {', '.join(part.file for part in mixture.parts)} reaches "
            f"{reached_db} dB in {recipe.encoding} instead of {mixture.snr_db:g} dB: write FLOAT, or give a "
            "smaller SNR."
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
    """Returns target and mixture as stored. In 16 bits the mixture is the sum of the rounded signals."""
    if encoding == "FLOAT":
        return target.astype(np.float32), (target + noise).astype(np.float32)
    steps = quantise(target, 16)
    return steps.astype(np.int16), (steps + quantise(noise, 16)).astype(np.int16)


def wav_bytes(
    samples: Int16[np.ndarray, " samples"] | Float32[np.ndarray, " samples"], *, sample_rate_hz: int
) -> bytes:
    """Returns a mono WAV file, whose bytes depend on the samples alone: it has no dates or program names.

    Raises:
      AudioFileError: the file would exceed 4 GB.
    """
    if samples.nbytes + 50 >= 1 << 32:  # the header has at most 50 bytes
        raise AudioFileError("a mixture would exceed the 4 GB that WAV can hold: make shorter ones.")
    file = io.BytesIO()
    wavfile.write(file, sample_rate_hz, samples)
    return file.getvalue()
