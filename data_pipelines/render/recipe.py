"""The inputs of a rendered corpus: its clips, and the recipe of its mixtures."""

import dataclasses
from typing import Literal

from audiosep_jax.config import MAX_RATIO_DB
from audiosep_jax.errors import ConfigError
from audiosep_jax.evals.evaluation_set import MAX_RATE_HZ, MAX_SECONDS, MIN_RATE_HZ

MIN_SOURCES, MAX_SOURCES = 2, 5

Encoding = Literal["PCM_16", "FLOAT"]
QueryKind = Literal["caption", "label"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """A sound file with its classes, the most important first, and captions.

    The path starts at the root of the clips and has forward slashes. Clips of one recording are not mixed.
    """

    file: str
    labels: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    recording: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a corpus is drawn.

    Attributes:
      query: the query for a target is one of its captions or its class.
      per_class: mixtures for each class as the target; 0 if `count` is given.
      count: number of all mixtures, in which the clips take turns as the target; 0 if `per_class` is given.
      sources: sounds in a mixture, including the target; several numbers take turns.
      snrs_db: energy of the target over that of all others together; several values take turns.
      snr_range_db: lowest and highest SNR of a uniform distribution, in place of `snrs_db`.
      seconds: length of every mixture.
      sample_rate_hz: of the files.
      seed: of all draws.
      encoding: of the files, 16-bit integers or 32-bit floating point.
    """

    query: QueryKind = "caption"
    per_class: int = 0
    count: int = 0
    sources: tuple[int, ...] = (2,)
    snrs_db: tuple[float, ...] = (0.0,)
    snr_range_db: tuple[float, ...] = ()
    seconds: float = 10.0
    sample_rate_hz: int = 32_000
    seed: int = 0
    encoding: Encoding = "PCM_16"

    def __post_init__(self) -> None:
        if (self.per_class < 1) == (self.count < 1) or min(self.per_class, self.count) < 0:
            raise ConfigError(
                f"the recipe asks for {self.per_class} mixtures per class and {self.count} in all: give one "
                "of the two numbers."
            )
        if not self.sources or not all(MIN_SOURCES <= one <= MAX_SOURCES for one in self.sources):
            raise ConfigError(
                f"the recipe has mixtures of {_shown(self.sources)} sounds: give {MIN_SOURCES} to "
                f"{MAX_SOURCES}."
            )
        levels = self.snr_range_db or self.snrs_db
        lowest_first = list(self.snr_range_db) == sorted(self.snr_range_db)
        if len(self.snr_range_db) not in (0, 2) or not levels or not lowest_first:
            raise ConfigError(
                f"the recipe has {_shown(self.snr_range_db)} dB for the range of SNRs: give the lowest "
                "and the highest value."
            )
        if not all(-MAX_RATIO_DB <= level <= MAX_RATIO_DB for level in levels):  # also refuses NaN
            raise ConfigError(
                f"the recipe has SNRs of {_shown(levels)} dB: give -{MAX_RATIO_DB} to {MAX_RATIO_DB} dB."
            )
        if not MIN_RATE_HZ <= self.sample_rate_hz <= MAX_RATE_HZ:
            raise ConfigError(
                f"the recipe has a sample rate of {self.sample_rate_hz} Hz: give {MIN_RATE_HZ} to "
                f"{MAX_RATE_HZ} Hz."
            )
        if not 1 / self.sample_rate_hz <= self.seconds <= MAX_SECONDS:
            raise ConfigError(
                f"the recipe has mixtures of {self.seconds} s: give a positive length of at most "
                f"{MAX_SECONDS:g} s."
            )
        if self.seed < 0:
            raise ConfigError(f"the recipe has the seed {self.seed}: give a number that is not negative.")

    @property
    def samples(self) -> int:
        """Samples of every mixture."""
        return round(self.seconds * self.sample_rate_hz)


def _shown(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:g}" for number in numbers) or "no"
