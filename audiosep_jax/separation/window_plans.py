"""The windows of long sounds: with cross-fades, or with the hard cuts of the reference."""

from audiosep_jax.audio.windows import WindowPlan
from audiosep_jax.config import ModelConfig

# With 1.25 s of context the bundled model's estimates in windows differ from those of the whole by less than
# -50 dB; with 0.75 s and with 1 s some mixtures reached -46 dB. See docs/separation.md.
_WINDOW_SECONDS, _CONTEXT_SECONDS, _FADE_SECONDS = 10.0, 1.25, 0.25

_UPSTREAM_WINDOW_SECONDS, _UPSTREAM_CONTEXT_SECONDS = 5, 1


def grid(config: ModelConfig) -> int:
    """Returns the step of the model's time pooling in samples; windows that begin on it are pooled alike."""
    return config.hop_length * config.time_multiple


def window_plan(config: ModelConfig, samples: int) -> WindowPlan:
    """Returns the plan for a sound: one window if it is short, otherwise 10 s windows with cross-fades.

    The length of the sound, `samples`, is at the model's rate.
    """
    # One of three lengths, so that few programs are compiled. Each fills whole steps of the model's time
    # pooling, and so does the stride of the longest: every window is pooled alike.
    step, rate = grid(config), config.sample_rate_hz
    steps = max(8, -(-round(_WINDOW_SECONDS * rate + config.hop_length) // step))
    fade, context = round(_FADE_SECONDS * rate), round(_CONTEXT_SECONDS * rate)
    for part in (4, 2):
        window = -(-steps // part) * step - config.hop_length
        if samples <= window:
            return WindowPlan(window=window, context=min(context, (window - 1) // 2), fade=0)
    window = steps * step - config.hop_length
    stride = (window - 2 * context - fade) // step * step
    context = (window - stride - fade) // 2
    return WindowPlan(window=window, context=context, fade=window - stride - 2 * context)


def upstream_plan(config: ModelConfig) -> WindowPlan:
    """Returns the plan of the reference's `chunk_inference`: 1 s of context, 3 s, 1 s of context, hard cuts.

    The reference returns silence for a sound that is not longer than one window; here, such a sound is one
    pass of the model. The reference computes every window but the first twice, with the same result.
    """
    rate = config.sample_rate_hz
    return WindowPlan(
        window=_UPSTREAM_WINDOW_SECONDS * rate,
        context=_UPSTREAM_CONTEXT_SECONDS * rate,
        fade=0,
        short_last=True,
    )
