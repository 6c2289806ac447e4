"""How a recording is separated, apart from what is extracted: the same for arrays, files and stems."""

from typing import Literal, TypedDict, get_args

from audiosep_jax.errors import ConfigError

ChannelMask = Literal["each", "shared"]
HighBandRule = Literal["residual", "extend"]


class Options(TypedDict, total=False):
    """Keyword arguments of all methods of `AudioSep` that separate.

    Attributes:
      channel_mask: "each" separates every channel on its own. "shared" computes one mask for all of them,
        from their root mean square: levels and phases between channels stay as they are, and the model runs
        once instead of once per channel.
      high_band: where that goes which lies above half the model's rate. "residual" leaves it to the residual;
        "extend" gives the estimate the part of it that it has in the highest part of the model's band.
      upstream_windows: cut long sounds as the PyTorch reference does: windows of 5 s, joined without a fade.
        Each length of a recording compiles a program of its own then.
      absent_below_db: the level of an estimate relative to the mixture below which a query counts as absent;
        None takes the model's own calibration, if its checkpoint has one.
    """

    channel_mask: ChannelMask
    high_band: HighBandRule
    upstream_windows: bool
    absent_below_db: float | None


def checked(given: Options) -> Options:
    """Returns the options with all defaults filled in.

    Raises:
      TypeError: an option that does not exist.
      AudioSepError: a value that an option does not take.
    """
    unknown = sorted(set(given) - set(Options.__annotations__))
    if unknown:
        raise TypeError(
            f"unknown option(s) {', '.join(unknown)}: choose of {', '.join(Options.__annotations__)}"
        )
    chosen = Options(
        channel_mask=given.get("channel_mask", "each"),
        high_band=given.get("high_band", "residual"),
        upstream_windows=given.get("upstream_windows", False),
        absent_below_db=given.get("absent_below_db"),
    )
    for name, kind in (("channel_mask", ChannelMask), ("high_band", HighBandRule)):
        if chosen[name] not in get_args(kind):
            raise ConfigError(f"{name} is {chosen[name]!r}: choose one of {', '.join(get_args(kind))}.")
    return chosen
