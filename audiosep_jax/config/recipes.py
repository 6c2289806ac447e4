"""Published recipes of mixtures; `docs/mixtures.md` defines each."""

from audiosep_jax.config.data import MixtureConfig


def reference(*, most: int = 2) -> MixtureConfig:
    """Returns the recipe of AudioSep's `SegmentMixer`.

    A mixture takes two to `most` (its `max_mix_num`) consecutive clips of the batch, with any captions, at
    integer gains of -10 to 10 dB. The released model and DCASE's baseline were trained with two.
    """
    return MixtureConfig(
        sources=most,
        fewest_sources=2,
        gain_range_db=(-10, 10),
        segment_seconds=5.0,
        collisions=(),
        interferers="neighbours",
    )


def dcase() -> MixtureConfig:
    """Returns a recipe of mixtures like those that DCASE 2024 Task 9 evaluates on.

    Two clips of 10 s without a common class, the target -15 to 15 dB over the other. DCASE's lists have whole
    numbers of dB; training draws uniformly.
    """
    return MixtureConfig(
        sources=2, snr_range_db=(-15.0, 15.0), segment_seconds=10.0, collisions=("caption", "label")
    )
