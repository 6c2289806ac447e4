"""A mixture of a benchmark: its files, its queries, and its sound."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from audiosep_jax.audio.gains import peak_scale
from audiosep_jax.audio.reading import AudioReader, read_audio
from audiosep_jax.audio.resample import resample, resampled_length
from audiosep_jax.errors import EvaluationError, printable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Query:
    """A query for the target; tables compare its kind, such as "caption"."""

    kind: str
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
    """A row of a benchmark's list.

    Attributes:
      id: unique within the dataset.
      target: file of the target.
      other: file of the mixture, or of the noise where the mixture is made here.
      mix_at_db: SNR at which target and noise are mixed; None where `other` is the mixture.
      queries: of this mixture; the kind of the first one represents the dataset in tables.
      label: class of the target; "" where the dataset has none.
      source: recording that the target was cut from. Mixtures of one recording succeed or fail together.
      snr_db: of the mixture; None where it is unknown.
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


@dataclasses.dataclass(frozen=True)
class Row:
    """One query of one mixture: a row of a batch, and of the results."""

    mixture: Mixture
    query: Query

    @property
    def key(self) -> tuple[str, str, str]:
        """Identifies the row within a suite: dataset, id of the mixture, and kind of query."""
        return self.mixture.dataset, self.mixture.id, self.query.kind


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sound:
    """The model's input at its rate, `given`, and the references of its estimate at the measuring rate."""

    given: Float32[np.ndarray, " given"]
    target: Float32[np.ndarray, " samples"]
    mixture: Float32[np.ndarray, " samples"]


def given_samples(mixture: Mixture, *, measure_hz: int, model_hz: int, full_band: bool) -> int:
    """Returns the length of `Sound.given` from the headers of the files; 0 where a header lacks it.

    Raises:
      AudioFileError: a file is no sound.
      EvaluationError: the two files differ in length.
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
    """Reads a mixture and averages its channels, as the reference does.

    With `full_band` the model gets the mixture at the rate of its file. Otherwise the mixture is first
    resampled to the measuring rate, for every model.

    Raises:
      AudioFileError: a file cannot be read.
      EvaluationError: the two files differ in length, or one that is to be mixed is silent.
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
    """Returns target and mixture at an SNR, as the evaluator of DCASE 2024 Task 9 makes them.

    Where the mixture's peak exceeds 1, both are scaled by 0.9/peak.

    Raises:
      EvaluationError: the target or the noise is silent.
    """
    power, noise_power = np.mean(np.square(target)), np.mean(np.square(noise))
    if not (power > 0 and noise_power > 0):
        silent = name.target if noise_power > 0 else name.other
        raise EvaluationError(
            f"{printable(silent)} is silent and cannot be mixed at {snr_db:g} dB: get a complete copy of the "
            "file."
        )
    # `gain_at_snr` in float32 and in the evaluator's order of operations, which gives its last bits.
    factor = np.sqrt(power / np.float32(10 ** (snr_db / 10)) / noise_power)
    mixture = target + noise * factor
    scale = np.float32(peak_scale(np.abs(mixture).max()))
    return target * scale, mixture * scale


def _check_lengths(mixture: Mixture, target: int, other: int) -> None:
    if target != other:
        raise EvaluationError(
            f"{printable(mixture.target)} and {printable(mixture.other)} have {target} and {other} samples: "
            "a target and its mixture must have one length; get complete copies of both."
        )
