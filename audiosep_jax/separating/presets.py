"""A few names for options that belong together."""

from typing import Literal

from audiosep_jax.options import ChannelMask, HighBandRule, Options

Preset = Literal["standard", "quality", "fast", "live", "reference"]

_PRESETS: dict[Preset, Options] = {
    "standard": Options(),
    "quality": Options(high_band="extend"),
    "fast": Options(channel_mask="shared"),
    "live": Options(),
    "reference": Options(upstream_windows=True),
}


def options_for(
    preset: Preset,
    *,
    channel_mask: ChannelMask | None = None,
    high_band: HighBandRule | None = None,
) -> Options:
    """Returns the options of a preset, and what was chosen apart from it."""
    chosen = Options(**_PRESETS[preset])
    if channel_mask is not None:
        chosen["channel_mask"] = channel_mask
    if high_band is not None:
        chosen["high_band"] = high_band
    return chosen
