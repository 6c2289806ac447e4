"""How a recording is separated, apart from the queries, and presets of these options."""

import dataclasses
from typing import Literal, TypedDict, get_args

from audiosep_jax.errors import ConfigError

ChannelMask = Literal["each", "shared"]
HighBandRule = Literal["residual", "extend"]
Level = Literal["working", "as_is"]
Preset = Literal["standard", "quality", "fast", "live", "reference"]


class OptionFields(TypedDict, total=False):
    """The fields of `Options`, as keyword arguments of the methods of `AudioSep`."""

    channel_mask: ChannelMask
    high_band: HighBandRule
    upstream_windows: bool
    level: Level
    absent_below_db: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of every separation: of arrays, files, stems and live sound.

    Attributes:
      channel_mask: "each" separates every channel on its own. "shared" computes one mask for all channels,
        from their root mean square: levels and phases between channels stay as they are, and the model runs
        once instead of once per channel.
      high_band: what happens above the model's Nyquist frequency. "residual" leaves that band to the
        residual. "extend" gives the estimate the part of it that the estimate has in the highest part of the
        model's band.
      upstream_windows: cut long sounds as the PyTorch reference does: windows of 5 s, joined without a fade.
        Then every length of a recording compiles its own program.
      level: "working" brings the recording to the level that the model is best at, and its estimates back, if
        the checkpoint says which level that is. "as_is" gives the model the recording as it is.
      absent_below_db: a query counts as absent when its estimate is below this level relative to the
        mixture; None takes the model's own calibration, if its checkpoint has one.

    Raises:
      ConfigError: an option has a value that it does not take.
    """

    channel_mask: ChannelMask = "each"
    high_band: HighBandRule = "residual"
    upstream_windows: bool = False
    level: Level = "working"
    absent_below_db: float | None = None

    def __post_init__(self) -> None:
        for name, kind in (("channel_mask", ChannelMask), ("high_band", HighBandRule), ("level", Level)):
            value = getattr(self, name)
            if value not in get_args(kind):
                raise ConfigError(f"{name} is {value!r}: choose one of {', '.join(get_args(kind))}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What a preset sets; docs/command.md says what each preset was measured to do.

    Attributes:
      options: of the separator.
      paraphrase: every sentence counts as the mean of several wordings.
    """

    options: Options = Options()
    paraphrase: bool = False


_PRESETS: dict[Preset, Settings] = {
    "standard": Settings(),
    "quality": Settings(options=Options(high_band="extend"), paraphrase=True),
    "fast": Settings(options=Options(channel_mask="shared")),
    "live": Settings(),
    "reference": Settings(options=Options(upstream_windows=True, level="as_is")),
}


def settings_for(
    preset: Preset,
    *,
    channel_mask: ChannelMask | None = None,
    high_band: HighBandRule | None = None,
    level: Level | None = None,
    paraphrase: bool = False,
) -> Settings:
    """Returns a preset's settings, changed by the arguments; None and False change nothing.

    Examples:
      >>> settings_for("quality", channel_mask="shared").options.high_band
      'extend'
    """
    preset_settings = _PRESETS[preset]
    changes = {"channel_mask": channel_mask, "high_band": high_band, "level": level}
    chosen = {name: value for name, value in changes.items() if value is not None}
    return Settings(
        options=dataclasses.replace(preset_settings.options, **chosen),
        paraphrase=preset_settings.paraphrase or paraphrase,
    )
