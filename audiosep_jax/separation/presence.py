"""Whether a query's sound is in a recording: the level of the estimate, judged by the model's calibration."""

import dataclasses
import math
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from audiosep_jax.errors import CheckpointError, shown
from audiosep_jax.utils import serialization
from audiosep_jax.utils.warning_places import levels_to_caller

_SEGMENT_SECONDS = 4.0

# Energy of a segment relative to the loudest.
_QUIET = 1e-4


class AbsentQueryWarning(UserWarning):
    """A query's sound seems not to be in the recording."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """How a model's levels tell present sounds from absent ones: measured, a part of its checkpoint.

    Attributes:
      midpoint_db: the level at which present and absent queries are equally likely, if half of all queries
        are present.
      slope_per_db: of the log-odds; the score is `1 / (1 + exp(-slope · (level - midpoint)))`.
      absent_below_db: the level below which a warning is worth its false alarms.
      measured_on: the data that the numbers come from, for people.
    """

    midpoint_db: float
    slope_per_db: float
    absent_below_db: float
    measured_on: str = ""

    def __post_init__(self) -> None:
        if not self.slope_per_db > 0:
            raise CheckpointError(f"slope_per_db is {self.slope_per_db}: a positive number is needed.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Presence:
    """Whether the sound that a query describes seems to be in a recording.

    Attributes:
      level_db: of the estimate relative to the mixture, in the 4 s where it is highest; -inf for silence.
      score: how likely the sound is there, in 0…1; None if the model was not calibrated.
      absent: whether the sound seems absent; None if neither the model nor an option says below which level.
    """

    level_db: float
    score: float | None
    absent: bool | None


class Meter:
    """Measures the level of each estimate in its loudest segment of 4 s.

    So a sound that comes once in an hour counts as loud as it is then. Segments more than 40 dB below the
    loudest of the mixture do not count, nor does a last one of less than a second. A segment takes sixteen
    bytes per query.

    Args:
      queries: estimates per mixture.
      sample_rate_hz: of mixture and estimates.
    """

    def __init__(self, *, queries: int, sample_rate_hz: int) -> None:
        self._segment, self._least = round(_SEGMENT_SECONDS * sample_rate_hz), sample_rate_hz
        self._pushed = 0
        self._energies: list[np.ndarray] = []  # of the estimates, then of the mixture, per segment
        self._queries = queries

    def push(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        estimates: Float32[np.ndarray, "queries channels samples"],
    ) -> None:
        """Takes the next samples."""
        start = 0
        while start < mixture.shape[-1]:
            done = self._pushed % self._segment
            if not done:
                self._energies.append(np.zeros(self._queries + 1))
            stop = min(mixture.shape[-1], start + self._segment - done)
            self._energies[-1][:-1] += _energies(estimates[..., start:stop])
            self._energies[-1][-1] += _energies(mixture[None, ..., start:stop])[0]
            self._pushed += stop - start
            start = stop

    def levels_db(self) -> list[float]:
        """Returns the level of every estimate; -inf for silence."""
        energies = np.array(self._energies).reshape(-1, self._queries + 1)
        if len(energies) > 1 and 0 < self._pushed % self._segment < self._least:
            energies = energies[:-1]
        estimates, mixture = energies[:, :-1], energies[:, -1]
        loud = (mixture > 0) & (mixture >= _QUIET * mixture.max(initial=0))
        loudest = (estimates[loud] / mixture[loud, None]).max(axis=0, initial=0)
        return [10 * math.log10(ratio) if ratio > 0 else -math.inf for ratio in loudest]


def _energies(waveforms: np.ndarray) -> np.ndarray:
    return np.square(waveforms, dtype=np.float64).sum(axis=(1, 2))


def load(folder: str | Path) -> Calibration | None:
    """Returns the calibration of a checkpoint folder, None if it has none.

    Raises:
      CheckpointError: the file is damaged.
    """
    from audiosep_jax.checkpoints.folder import PRESENCE_FILE  # JAX takes a second to import

    path = Path(folder) / PRESENCE_FILE
    return serialization.load_json(Calibration, path, kind=CheckpointError) if path.is_file() else None


def judged(
    level_db: float, calibration: Calibration | None, *, absent_below_db: float | None = None
) -> Presence:
    """Returns what a level means.

    Args:
      level_db: as `Meter` measured it.
      calibration: of the model, if it has one.
      absent_below_db: the level below which the sound counts as absent; None takes the calibration's.

    Examples:
      >>> judged(-20.0, None, absent_below_db=-15.0).absent
      True
    """
    score = None
    if calibration is not None:
        log_odds = calibration.slope_per_db * (level_db - calibration.midpoint_db)
        score = 1 / (1 + math.exp(-log_odds)) if log_odds > -700 else 0.0
        absent_below_db = calibration.absent_below_db if absent_below_db is None else absent_below_db
    absent = None if absent_below_db is None else level_db < absent_below_db
    return Presence(level_db=level_db, score=score, absent=absent)


def absence_warning(presence: Presence, name: str) -> str | None:
    """Returns the sentence that warns of an absent sound; None if it seems present or cannot be judged.

    Args:
      presence: of the query.
      name: of the query.
    """
    if not presence.absent:
        return None
    level = "silent" if presence.level_db == -math.inf else f"{presence.level_db:+.1f} dB of the mixture"
    score = "" if presence.score is None else f", presence {presence.score:.2f} of 1"
    return (
        f'"{shown(name)}" seems not to be in the recording (the estimate is {level}{score}): what was '
        "extracted may be something else."
    )


def warn_if_absent(presence: Presence, name: str) -> None:
    """Warns of a sound that seems absent, at the line of the program that called this package."""
    warning = absence_warning(presence, name)
    if warning is not None:
        warnings.warn(warning, AbsentQueryWarning, stacklevel=levels_to_caller())
