"""Config of the model: the separator and its query encoder."""

import dataclasses
from typing import Literal

from audiosep_jax.config.checks import at_least
from audiosep_jax.errors import ConfigError

FilmKind = Literal["shift", "scale_shift"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A ResUNet30 separator. The defaults are the released AudioSep checkpoint.

    Attributes:
      sample_rate_hz: rate of the waveforms that the model takes and returns.
      window_length: STFT window and FFT length in samples; the model uses `window_length // 2` bins.
      hop_length: STFT hop in samples.
      encoder_widths: channels of the encoder blocks; every block but the last halves time, each
        halves frequency.
      bottleneck_blocks: residual blocks between encoder and decoder.
      film: "shift" adds a projection of the condition after each BatchNorm (the released model);
        "scale_shift" also multiplies by one plus a second projection.
      condition_size: length of the condition vector.
      patch_bins: neighbouring frequency bins that the network takes as the channels of one position. 1 is the
        reference. More make the upper levels cheaper, so that the same time allows wider levels.
      magnitude_power: exponent of the magnitude before `bn0`. 1 is the reference; a power below 1 compresses
        the dynamic range, and small models learn faster.
      working_level_db: level in dBFS, as `audio.levels` measures it, at which the model is at its best. A
        separation brings recordings to it and estimates back. None, as in the reference, leaves them as they
        are. Training does not use it.
      unused_tensors: declare the 24 tensors that the released model holds and never uses (`bn2` and `beta2`
        of the decoders), so that import and export keep them; they get no gradient.
    """

    sample_rate_hz: int = 32_000
    window_length: int = 2048
    hop_length: int = 320
    encoder_widths: tuple[int, ...] = (32, 64, 128, 256, 384, 384)
    bottleneck_blocks: int = 1
    film: FilmKind = "shift"
    condition_size: int = 512
    patch_bins: int = 1
    magnitude_power: float = 1.0
    working_level_db: float | None = None
    unused_tensors: bool = True

    def __post_init__(self) -> None:
        if len(self.encoder_widths) < 2 or min(self.encoder_widths) < 1:
            raise ConfigError(
                f"model.encoder_widths is {self.encoder_widths}: give two or more positive widths."
            )
        at_least(self, "model", 1, "patch_bins")
        halvings = 2 ** len(self.encoder_widths)
        if self.window_length % 2 or self.window_length // 2 % (halvings * self.patch_bins):
            joined = f" of patches of {self.patch_bins} bins" if self.patch_bins > 1 else ""
            raise ConfigError(
                f"model.window_length is {self.window_length}: half of it must be a multiple of "
                f"{halvings * self.patch_bins}, because {len(self.encoder_widths)} encoder blocks halve the "
                f"frequency axis{joined}."
            )
        if not 0 < self.hop_length <= self.window_length // 2:
            raise ConfigError(
                f"model.hop_length is {self.hop_length}: it must lie between 1 and half the window "
                f"({self.window_length // 2}), so that the windows overlap enough to be inverted."
            )
        at_least(self, "model", 1, "sample_rate_hz", "bottleneck_blocks", "condition_size")
        if not 0 < self.magnitude_power <= 1:
            raise ConfigError(f"model.magnitude_power is {self.magnitude_power}: give a number in (0, 1].")
        if self.working_level_db is not None and not -60 <= self.working_level_db <= 20:
            raise ConfigError(
                f"model.working_level_db is {self.working_level_db}: give -60 to 20 dBFS, or none."
            )

    @property
    def positions(self) -> int:
        """Positions of the frequency axis at the network's highest level."""
        return self.window_length // 2 // self.patch_bins

    @property
    def time_multiple(self) -> int:
        """STFT frames are padded to a multiple of this: 32 with six encoder blocks."""
        return 2 ** (len(self.encoder_widths) - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueryConfig:
    """The frozen encoder that turns a query into a condition.

    Attributes:
      encoder: its registered name: "sentence" is all-MiniLM-L6-v2; with "none" conditions are given as
        vectors.
      source: a folder, a Hugging Face id, or "" for the encoder's default weights.
      text_ratio: share of the training examples whose condition is computed from their caption. For the
        others it is computed from the target: its sound ("clap") or its frames ("clip"). An example with only
        one of the two always uses that one.
    """

    encoder: str = "none"
    source: str = ""
    text_ratio: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.text_ratio <= 1:
            raise ConfigError(f"query.text_ratio is {self.text_ratio}: give a share in [0, 1].")
