"""Whether a query's sound is in a recording: how loud the estimate is, and what that means for this model."""

import dataclasses
import math
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from audiosep_jax import serialization
from audiosep_jax.errors import AudioSepError, shown

PRESENCE_FILE = "presence.json"


class AbsentQueryWarning(UserWarning):
    """A query's sound seems not to be in the recording."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """What the level of an estimate says about a model: measured, a part of its checkpoint.

    Attributes:
      absent_below_db: where a present and an absent query are equally likely.
      slope_per_db: of the log-odds; the score is `1 / (1 + exp(-slope · (level - absent_below)))`.
      measured_on: what the numbers come from, for people.
    """

    absent_below_db: float
    slope_per_db: float
    measured_on: str = ""

    def __post_init__(self) -> None:
        if not self.slope_per_db > 0:
            raise AudioSepError(f"slope_per_db is {self.slope_per_db}: a positive number is needed.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Presence:
    """Whether what a query describes seems to be in a recording.

    Attributes:
      level_db: of the estimate relative to the mixture, where the estimate is loudest; see `Meter`.
      score: how likely it is there, in 0…1; None if the model was not calibrated.
      absent: whether it seems not to be there; None if nobody said from which level on it is.
    """

    level_db: float
    score: float | None
    absent: bool | None


class Meter:
    """Measures how loud estimates are, in constant memory.

    Args:
      queries: estimates per mixture.
      sample_rate_hz: of both.
    """

    def __init__(self, *, queries: int, sample_rate_hz: int) -> None:
        self._energies = np.zeros((queries, 2))

    def push(
        self,
        mixture: Float32[np.ndarray, "channels samples"],
        estimates: Float32[np.ndarray, "queries channels samples"],
    ) -> None:
        """Takes the next samples."""
        self._energies[:, 0] += np.square(estimates, dtype=np.float64).sum(axis=(1, 2))
        self._energies[:, 1] += np.square(mixture, dtype=np.float64).sum()

    def levels_db(self) -> list[float]:
        """Returns the level of every estimate; -inf for silence."""
        return [10 * math.log10(part / whole) if part > 0 else -math.inf for part, whole in self._energies]


def load(folder: Path) -> Calibration | None:
    """Returns the calibration of a checkpoint folder, None if it has none.

    Raises:
      AudioSepError: the file is damaged.
    """
    path = folder / PRESENCE_FILE
    return serialization.load_json(Calibration, path) if path.is_file() else None


def judged(
    level_db: float, calibration: Calibration | None, *, absent_below_db: float | None = None
) -> Presence:
    """Returns what a level means.

    Args:
      level_db: as `Meter` measured it.
      calibration: of the model, if it has one.
      absent_below_db: from which level on the sound is there, in the place of the calibration's.
    """
    score = None
    if calibration is not None:
        log_odds = calibration.slope_per_db * (level_db - calibration.absent_below_db)
        score = 1 / (1 + math.exp(-log_odds)) if log_odds > -700 else 0.0
    threshold = absent_below_db
    if threshold is None and calibration is not None:
        threshold = calibration.absent_below_db
    return Presence(
        level_db=level_db, score=score, absent=None if threshold is None else level_db < threshold
    )


def absence_warning(presence: Presence, name: str) -> str | None:
    """Returns the sentence that warns of an absent sound, None if it seems present or nobody knows.

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
