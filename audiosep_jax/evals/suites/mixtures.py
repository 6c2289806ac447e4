"""A mixture of a benchmark: its files, what is asked of it, and its sound."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from audiosep_jax.audio.files import AudioReader, read_audio
from audiosep_jax.audio.resample import resample, resampled_length
from audiosep_jax.errors import EvaluationError, printable

PEAK = 0.9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Query:
    """One way to ask for the target.

    Attributes:
      kind: of query, such as "caption"; tables compare kinds.
      text: the sentence.
    """

    kind: str
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
    """A row of a benchmark's list.

    Attributes:
      dataset: whose list it stands in.
      id: unique within the dataset.
      target: file of the sound that is asked for.
      other: file of the mixture, or of the noise where the mixture is made here.
      mix_at_db: energy of the target over the noise's in the mixture that is made; None where `other` is
        the mixture.
      queries: asked of this mixture; in tables the first kind stands for the dataset.
      label: class of the target; "" where the dataset has none.
      source: recording that the target was taken from. Mixtures of one recording succeed or fail together.
      snr_db: of the mixture, where it is known.
    """

    dataset: str
    id: str
    target: Path
    other: Path
    mix_at_db: float | None = None
    queries: tuple[Query, ...]
    label: str = ""
    source: str
    snr_db: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sound:
    """What is separated and what the estimate is measured against.

    Attributes:
      given: `[samples]` the mixture at the model's rate.
      target: `[samples]` at the rate at which estimates are measured.
      mixture: `[samples]` at that rate.
    """

    given: Float32[np.ndarray, " given"]
    target: Float32[np.ndarray, " samples"]
    mixture: Float32[np.ndarray, " samples"]


def given_samples(mixture: Mixture, *, measure_hz: int, model_hz: int, full_band: bool) -> int:
    """Returns the length of `Sound.given` by the headers of the files, or 0 where a header does not say.

    Raises:
      AudioSepError: a file is no sound, or the two differ in length.
    """
    with AudioReader(mixture.target) as target, AudioReader(mixture.other) as other:
        if not target.samples or not other.samples:
            return 0
        lengths = [
            resampled_length(file.samples, from_hz=file.sample_rate_hz, to_hz=measure_hz)
            for file in (target, other)
        ]
        _check_lengths(mixture, *lengths)
        if full_band:
            return resampled_length(other.samples, from_hz=other.sample_rate_hz, to_hz=model_hz)
    return resampled_length(lengths[0], from_hz=measure_hz, to_hz=model_hz)


def read_sound(mixture: Mixture, *, measure_hz: int, model_hz: int, full_band: bool) -> Sound:
    """Reads a mixture, its channels averaged, as the reference does.

    Args:
      mixture: whose files are read.
      measure_hz: rate at which estimates are measured.
      model_hz: rate of the model.
      full_band: whether the model is given all that the file holds, where the measuring rate is lower;
        otherwise the mixture is one of the measuring rate, for every model.

    Raises:
      AudioSepError: a file cannot be read, the two differ in length, or silence is to be mixed at a ratio.
    """
    target = read_audio(mixture.target, sample_rate_hz=measure_hz, mono=True).waveform[0]
    recording = read_audio(mixture.other, mono=True)
    native, rate = recording.waveform[0], recording.sample_rate_hz
    other = native if rate == measure_hz else resample(native, from_hz=rate, to_hz=measure_hz)
    _check_lengths(mixture, len(target), len(other))
    if mixture.mix_at_db is not None:
        target, other = mix(target, other, snr_db=mixture.mix_at_db, name=mixture)
    if full_band and mixture.mix_at_db is None:
        given = native if rate == model_hz else resample(native, from_hz=rate, to_hz=model_hz)
    else:
        given = other if measure_hz == model_hz else resample(other, from_hz=measure_hz, to_hz=model_hz)
    return Sound(given=given, target=target, mixture=other)


def mix(
    target: Float32[np.ndarray, " samples"],
    noise: Float32[np.ndarray, " samples"],
    *,
    snr_db: float,
    name: Mixture,
) -> tuple[Float32[np.ndarray, " samples"], Float32[np.ndarray, " samples"]]:
    """Mixes at a ratio of energies as the evaluator of DCASE 2024 Task 9 does.

    Where the mixture's peak exceeds 1, target and mixture are scaled by 0.9/peak.

    Args:
      target: `[samples]`.
      noise: `[samples]`.
      snr_db: energy of the target over the noise's.
      name: how errors name the mixture.

    Returns:
      Target and mixture.

    Raises:
      AudioSepError: the target or the noise is silent.
    """
    power, noise_power = np.mean(np.square(target)), np.mean(np.square(noise))
    if not (power > 0 and noise_power > 0):
        silent = name.target if noise_power > 0 else name.other
        raise EvaluationError(
            f"{printable(silent)} is silent, so that no mixture of {snr_db:g} dB can be made with it: "
            "get a complete copy of the file."
        )
    factor = np.sqrt(power / np.float32(10 ** (snr_db / 10)) / noise_power)
    mixture = target + noise * factor
    peak = np.abs(mixture).max()
    if peak > 1:
        target, mixture = target * np.float32(PEAK / peak), mixture * np.float32(PEAK / peak)
    return target, mixture


def _check_lengths(mixture: Mixture, target: int, other: int) -> None:
    if target != other:
        raise EvaluationError(
            f"{printable(mixture.target)} and {printable(mixture.other)} have {target} and {other} samples: "
            "a target and its mixture must have one length; get complete copies of both."
        )
