"""The results that separations return."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from audiosep_jax.separation.files import Outputs, Written
from audiosep_jax.separation.presence import Presence


@dataclasses.dataclass(frozen=True)
class Separation:
    """A mixture in two parts, both with the shape and rate of the mixture.

    Attributes:
      estimate: `[samples]` or `[channels, samples]` float32, the described sound.
      residual: everything else; estimate + residual is the mixture (see `AudioSep.separate`).
      sample_rate_hz: samples per second.
      presence: whether the sound seems to be in the mixture; for a query that has only `without`, whether
        the sounds of its negatives do.
    """

    estimate: Float32[np.ndarray, "*channels samples"]
    residual: Float32[np.ndarray, "*channels samples"]
    sample_rate_hz: int
    presence: Presence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stems:
    """A mixture in several parts, each with the shape and rate of the mixture.

    Attributes:
      estimates: one per query; summed in their order, the rest last, they are the mixture (see
        `AudioSep.separate_stems`).
      rest: what no query gets.
      sample_rate_hz: samples per second.
      presences: of each query, as in `Separation`.
    """

    estimates: tuple[Float32[np.ndarray, "*channels samples"], ...]
    rest: Float32[np.ndarray, "*channels samples"]
    sample_rate_hz: int
    presences: tuple[Presence, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSeparation:
    """What the separation of a file wrote for one query.

    Attributes:
      estimate_path: the described sound.
      residual_path: everything else; for stems, what no query gets; None if it was not written.
      subtype: libsndfile's name of the encoding of both.
      sample_rate_hz, channels, samples: of the input and of both outputs; samples per channel.
      level_db: energy of the estimate relative to the mixture's; -inf for silence.
      peak: largest magnitude of the input, where full scale is 1.
      presence: as in `Separation`.
    """

    estimate_path: Path
    residual_path: Path | None
    subtype: str
    sample_rate_hz: int
    channels: int
    samples: int
    level_db: float
    peak: float
    presence: Presence


def file_separations(
    written: Written, outputs: Sequence[Outputs], presences: Sequence[Presence]
) -> tuple[FileSeparation, ...]:
    """Returns a result per query of a pass, whose files `separate_file` has written.

    Args:
      written: by `separate_file`.
      outputs: as they were given to it.
      presences: one per query.
    """
    pairs = [pair for each in outputs for pair in each.pairs]
    return tuple(
        FileSeparation(
            estimate_path=estimate_path,
            residual_path=residual_path,
            subtype=written.subtypes[estimate_path],
            sample_rate_hz=written.sample_rate_hz,
            channels=written.channels,
            samples=written.samples,
            level_db=level,
            peak=written.peak,
            presence=presence,
        )
        for (estimate_path, residual_path), level, presence in zip(
            pairs, written.levels_db, presences, strict=True
        )
    )
