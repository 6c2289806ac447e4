"""What a separation returns."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from audiosep_jax.separation.presence import Presence


@dataclasses.dataclass(frozen=True)
class Separation:
    """A mixture in two parts, both with the shape and rate of the mixture.

    Attributes:
      estimate: `[samples]` or `[channels, samples]` float32, the described sound.
      residual: everything else; estimate + residual is the mixture (see `AudioSep.separate`).
      sample_rate_hz: samples per second.
      presence: whether the sound seems to be in the mixture; of a query that only takes out, whether what it
        takes out is.
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
      rest: what no query claims.
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
      residual_path: everything else; of stems, what no query claims; None if it was not asked for.
      subtype: libsndfile's name of the encoding of both.
      sample_rate_hz, channels, samples: of the input and of both outputs; samples per channel.
      level_db: energy of the estimate relative to the mixture's; -inf for silence.
      presence: as in `Separation`.
    """

    estimate_path: Path
    residual_path: Path | None
    subtype: str
    sample_rate_hz: int
    channels: int
    samples: int
    level_db: float
    presence: Presence
