"""Config of the augmentation: how clips are changed before they are mixed."""

import dataclasses

from audiosep_jax.config.checks import at_least
from audiosep_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Changes of every sound of a mixture, drawn for each sound on its own. The defaults change nothing.

    Attributes:
      speed_range: slowest and fastest playback; the logarithm is drawn uniformly. Pitch and duration change
        together, as on a tape.
      equalizer_db: standard deviation of a random frequency response, in dB per octave point.
      low_pass_share: share of the sounds that lose everything above a random frequency, so that a model does
        not learn to tell sounds apart by their bandwidth.
      low_pass_range_hz: lowest and highest of these frequencies; the logarithm is drawn uniformly.
      reverb_share: share of the sounds that get a random reverberation.
      reverb_range_seconds: shortest and longest reverberation time, the time of a decay by 60 dB.
    """

    speed_range: tuple[float, float] = (1.0, 1.0)
    equalizer_db: float = 0.0
    low_pass_share: float = 0.0
    low_pass_range_hz: tuple[float, float] = (3000.0, 14_000.0)
    reverb_share: float = 0.0
    reverb_range_seconds: tuple[float, float] = (0.1, 0.8)

    def __post_init__(self) -> None:
        for name, highest in (("speed_range", 4), ("low_pass_range_hz", 1e6), ("reverb_range_seconds", 10)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= highest or (name == "speed_range" and low < 0.25):
                raise ConfigError(
                    f"augment.{name} is ({low}, {high}): give the lowest and the highest, both positive"
                    + (", from 0.25 to 4." if name == "speed_range" else f" and at most {highest:g}.")
                )
        at_least(self, "augment", 0, "equalizer_db")
        if self.equalizer_db > 20:
            raise ConfigError(f"augment.equalizer_db is {self.equalizer_db}: give at most 20 dB.")
        for name in ("low_pass_share", "reverb_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"augment.{name} is {getattr(self, name)}: give a share in [0, 1].")

    @property
    def changes_sounds(self) -> bool:
        """Whether any sound can be changed."""
        return self.speed_range != (1.0, 1.0) or self.filters

    @property
    def filters(self) -> bool:
        """Whether anything but the speed can change."""
        return bool(self.equalizer_db or self.low_pass_share or self.reverb_share)
