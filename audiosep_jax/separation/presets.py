"""A few names for options that belong together; docs/command.md says what each is measured to do."""

import dataclasses
from typing import Literal

from audiosep_jax.separation.options import ChannelMask, HighBandRule, Options

Preset = Literal["standard", "quality", "fast", "live", "reference"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How is separated, and how sentences are understood.

    Attributes:
      options: of the separator.
      paraphrase: every sentence counts as the mean of several wordings.
    """

    options: Options
    paraphrase: bool = False


_PRESETS: dict[Preset, Settings] = {
    "standard": Settings(options=Options()),
    "quality": Settings(options=Options(high_band="extend"), paraphrase=True),
    "fast": Settings(options=Options(channel_mask="shared")),
    "live": Settings(options=Options()),
    "reference": Settings(options=Options(upstream_windows=True)),
}


def settings_for(
    preset: Preset,
    *,
    channel_mask: ChannelMask | None = None,
    high_band: HighBandRule | None = None,
    paraphrase: bool = False,
) -> Settings:
    """Returns a preset with what was chosen apart from it; None and False choose nothing."""
    found = _PRESETS[preset]
    options = Options(**found.options)
    if channel_mask is not None:
        options["channel_mask"] = channel_mask
    if high_band is not None:
        options["high_band"] = high_band
    return Settings(options=options, paraphrase=found.paraphrase or paraphrase)
