"""What is heard: datasets, and how clips become mixtures."""

import dataclasses

from audiosep_jax.config.checks import at_least
from audiosep_jax.errors import AudioSepError


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """How clips become mixtures. The defaults are the reference's recipe.

    Attributes:
      sources: clips per mixture, target included.
      gain_range_db: lowest and highest integer gain of an interferer, and of the sum of interferers, relative
        to the target's energy. The draw includes both ends.
      segment_seconds: length of a crop.
      absent_probability: share of mixtures whose caption names none of their sources; their
        target is silence.
      level_range_db: lowest and highest gain of the finished mixture and target, drawn uniformly; (0, 0)
        leaves the level alone.
    """

    sources: int = 2
    gain_range_db: tuple[int, int] = (-10, 10)
    segment_seconds: float = 5.0
    absent_probability: float = 0.0
    level_range_db: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        at_least(self, "mixture", 2, "sources")
        if not 0 < self.segment_seconds < float("inf"):
            raise AudioSepError(
                f"mixture.segment_seconds is {self.segment_seconds}: give a positive number of seconds."
            )
        for name in ("gain_range_db", "level_range_db"):
            low, high = getattr(self, name)
            if low > high:
                raise AudioSepError(
                    f"mixture.{name} is ({low}, {high}): the first must not exceed the second."
                )
        if not 0 <= self.absent_probability < 1:
            raise AudioSepError(
                f"mixture.absent_probability is {self.absent_probability}: give a share in [0, 1)."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Prepared datasets and how they are read.

    Attributes:
      datasets: folders that `audiosep prepare` wrote, each "PATH" or "PATH:SPLIT+SPLIT".
      validation: the same, for the clips held out for validation; empty switches validation off.
      weights: relative share of examples per dataset; empty means by number of clips.
      seed: with step and position it decides every draw.
      read_threads: threads that decode crops; 0 decodes in the main thread.
      prefetch: batches prepared ahead; each thread holds at least one.
    """

    datasets: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    seed: int = 0
    read_threads: int = 4
    prefetch: int = 4

    def __post_init__(self) -> None:
        at_least(self, "data", 0, "seed", "read_threads")
        at_least(self, "data", 1, "prefetch")
        if any(not weight > 0 for weight in self.weights):
            raise AudioSepError(f"data.weights is {self.weights}: every weight must be a positive number.")
