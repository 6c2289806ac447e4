"""Draws and reads mixtures on the device, from clips that all lie in its memory.

The distributions are those of `draws.DrawSource`, with two differences: targets are drawn independently, so a
clip may come twice before another comes once, and an interferer is missing where no clip may join the others.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from audiosep_jax.config import AugmentConfig, MixtureConfig
from audiosep_jax.errors import ConfigError, DatasetError
from data_pipelines.mixtures.clip_table import ClipTable
from data_pipelines.mixtures.device_augmentation import (
    Treatments,
    draw_treatments,
    filtered,
    played,
    tail_samples,
)
from data_pipelines.mixtures.draws import ACTIVE_SECONDS, clip_shares

MOST_CLIPS = 32_768
"""The table of which clips may meet takes a byte for each pair: 1 GB."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class DeviceClips:
    """All clips.

    Attributes:
      sound: int16 `[all]`, one clip after the other.
      begin: int32 `[clips + 1]`, where each clip begins, and the end.
      active: int32 `[clips, 2]`, first active sample of each clip, and the one after its last.
      log_shares: float32 `[clips]`, logarithm of how often each clip is drawn.
      may_meet: bool `[clips, clips]`.
      captions: int32 `[clips, most]`, numbers of each clip's captions; the rest repeats the first.
      caption_counts: int32 `[clips]`.
      conditions: float32 `[captions, size]`.
    """

    sound: jax.Array
    begin: jax.Array
    active: jax.Array
    log_shares: jax.Array
    may_meet: jax.Array
    captions: jax.Array
    caption_counts: jax.Array
    conditions: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Draws:
    """All random numbers of a batch, except the noise of reverberation.

    Attributes:
      clips: int32 `[batch, sources]`, the target first; -1 where a mixture has fewer.
      asked: int32 `[batch]`, the clip that the query describes: the target, or an absent clip.
      caption: int32 `[batch]`, in `ClipTable.captions`.
      absent: bool `[batch]`.
      gains_db: int32 `[batch, sources]`.
      level_db: float32 `[batch]`.
      snr_db: float32 `[batch]`, or None if the recipe has gains.
      start: int32 `[batch, sources]`, first sample of the clip.
      offset, length: int32 `[batch, sources]`, where the sound begins in the segment, and what it fills.
      treatments: of each sound, `[batch, sources]`.
    """

    clips: jax.Array
    asked: jax.Array
    caption: jax.Array
    absent: jax.Array
    gains_db: jax.Array
    level_db: jax.Array
    snr_db: jax.Array | None
    start: jax.Array
    offset: jax.Array
    length: jax.Array
    treatments: Treatments


def device_clips(
    table: ClipTable,
    mixture: MixtureConfig,
    *,
    sound: np.ndarray,
    begin: np.ndarray,
    conditions: np.ndarray,
    weights: Sequence[float] = (),
    label_balance: float = 0.0,
) -> DeviceClips:
    """Returns the arrays of all clips, on the host; every clip has a caption.

    Args:
      table: the clips, with conditions if a rule needs them.
      mixture: the recipe.
      sound: int16 `[all]`.
      begin: `[clips + 1]`, where each clip begins in it.
      conditions: `[captions, size]`.
      weights: shares of the datasets; empty for their shares of the clips.
      label_balance: as in `DataConfig`.

    Raises:
      ConfigError: the recipe cannot be drawn on a device.
      DatasetError: there are too many clips, or a clip may meet too few others.
    """
    if mixture.interferers != "drawn":
        raise ConfigError(
            'mixture.interferers is "neighbours", which a device does not draw: set it to "drawn".'
        )
    if len(table.clips) > MOST_CLIPS or len(sound) >= 2**31 - 2**20:
        raise DatasetError(
            f"{len(table.clips)} clips of {len(sound):,} samples are too many for a device: give at most "
            f"{MOST_CLIPS:,} clips of 2³¹ samples."
        )
    table.check(mixture.sources + (mixture.absent_probability > 0))
    most = max(map(len, table.captions_of))
    captions = [(*own, *[own[0]] * (most - len(own))) for own in table.captions_of]
    with np.errstate(divide="ignore"):
        log_shares = np.log(clip_shares(table, weights, label_balance))
    return DeviceClips(
        sound=sound,  # pyright: ignore[reportArgumentType]
        begin=begin.astype(np.int32),  # pyright: ignore[reportArgumentType]
        active=np.array([clip.active for clip in table.clips], np.int32),  # pyright: ignore[reportArgumentType]
        log_shares=log_shares.astype(np.float32),  # pyright: ignore[reportArgumentType]
        may_meet=table.meetings(),  # pyright: ignore[reportArgumentType]
        captions=np.array(captions, np.int32),  # pyright: ignore[reportArgumentType]
        caption_counts=np.array([len(own) for own in table.captions_of], np.int32),  # pyright: ignore[reportArgumentType]
        conditions=conditions.astype(np.float32),  # pyright: ignore[reportArgumentType]
    )


def draw(
    clips: DeviceClips,
    mixture: MixtureConfig,
    augment: AugmentConfig,
    key: Array,
    *,
    batch_size: int,
    sample_rate_hz: int,
    absent_probability: Float[Array, ""] | float,
) -> Draws:
    """Draws a batch: a pure function of its arguments. `absent_probability` replaces the recipe's."""
    keys = iter(jax.random.split(key, 16 + mixture.sources))
    batch, sources = batch_size, mixture.sources
    chosen, asked, absent = _choose_clips(clips, mixture, next(keys), batch, absent_probability)
    owned = clips.caption_counts[asked]
    caption = clips.captions[asked, jax.random.randint(next(keys), (batch,), 0, owned)]
    low, high = mixture.gain_range_db
    level = jax.random.uniform(
        next(keys), (batch,), minval=mixture.level_range_db[0], maxval=mixture.level_range_db[1]
    )
    snr_key, snr_db = next(keys), None
    if mixture.snr_range_db:
        snr_db = jax.random.uniform(
            snr_key, (batch,), minval=mixture.snr_range_db[0], maxval=mixture.snr_range_db[1]
        )
    treatments = draw_treatments(augment, next(keys), (batch, sources), sample_rate_hz=sample_rate_hz)
    start, offset, length = _crop(
        clips, jnp.maximum(chosen, 0), treatments.speed, next(keys), mixture, sample_rate_hz
    )
    return Draws(
        clips=chosen,
        asked=asked,
        caption=caption,
        absent=absent,
        gains_db=jax.random.randint(next(keys), (batch, sources), low, high + 1),
        level_db=level,
        snr_db=snr_db,
        start=start,
        offset=offset,
        length=length,
        treatments=treatments,
    )


def read(
    clips: DeviceClips,
    draws: Draws,
    mixture: MixtureConfig,
    augment: AugmentConfig,
    key: Array,
    *,
    sample_rate_hz: int,
) -> dict[str, Array]:
    """Returns the batch of some draws, with the arrays of a `MixtureBatch`; `key` draws reverberation."""
    segment = round(mixture.segment_seconds * sample_rate_hz)
    batch, sources = draws.clips.shape
    source = jnp.maximum(draws.clips, 0)
    bounds = (clips.begin[source], clips.begin[source + 1])
    place = jnp.arange(segment, dtype=jnp.int32)[None, None] - draws.offset[..., None]
    inside = (place >= 0) & (place < draws.length[..., None]) & (draws.clips >= 0)[..., None]
    sound = played(
        clips.sound,
        bounds[0] + draws.start,
        bounds,
        jnp.where(inside, place, 0),
        augment,
        draws.treatments.speed,
    )
    segments = jnp.where(inside, sound, 0)
    noise = None
    if tail := tail_samples(augment, sample_rate_hz):
        noise = jax.random.normal(key, (batch, sources, tail))
    segments = filtered(segments, draws.treatments, noise, config=augment, sample_rate_hz=sample_rate_hz)
    arrays = {
        "segments": segments,
        "gains_db": draws.gains_db,
        "level_db": draws.level_db,
        "absent": draws.absent,
        "condition": clips.conditions[draws.caption],
    }
    return arrays if draws.snr_db is None else {**arrays, "snr_db": draws.snr_db}


def _choose_clips(
    clips: DeviceClips,
    mixture: MixtureConfig,
    key: Array,
    batch: int,
    absent_probability: Float[Array, ""] | float,
) -> tuple[Int[Array, "batch sources"], Int[Array, " batch"], Bool[Array, " batch"]]:
    """Draws clips that may all meet, the clip that each query describes, and whether it is absent."""
    target_key, absent_key, asked_key, count_key, *keys = jax.random.split(key, 4 + mixture.sources)
    everything = jnp.ones((batch, len(clips.log_shares)), bool)
    target = _pick(clips, target_key, everything)
    allowed = clips.may_meet[target]
    asked, absent = target, jnp.zeros((batch,), bool)
    if mixture.absent_probability:
        other = _pick(clips, asked_key, allowed)
        wanted = jax.random.uniform(absent_key, (batch,)) < absent_probability
        absent = wanted & jnp.any(allowed, axis=1)
        asked = jnp.where(absent, other, target)
        allowed = allowed & (clips.may_meet[other] | ~absent[:, None])
    fewest = mixture.fewest_sources or mixture.sources
    count = jax.random.randint(count_key, (batch,), fewest, mixture.sources + 1)
    chosen = [target]
    for number, own_key in enumerate(keys[: mixture.sources - 1], start=1):
        other = _pick(clips, own_key, allowed)
        taken = jnp.any(allowed, axis=1) & (number < count)
        chosen.append(jnp.where(taken, other, -1))
        allowed = allowed & (clips.may_meet[other] | ~taken[:, None])
    return jnp.stack(chosen, axis=1), asked, absent


def _pick(clips: DeviceClips, key: Array, allowed: Bool[Array, "batch clips"]) -> Int[Array, " batch"]:
    """Draws one clip a row by the clips' shares, among those that are allowed."""
    logits = jnp.where(allowed, clips.log_shares[None], -jnp.inf)
    return jax.random.categorical(key, logits, axis=-1).astype(jnp.int32)


def _crop(
    clips: DeviceClips,
    chosen: Int[Array, "batch sources"],
    speed: Float[Array, "batch sources"],
    key: Array,
    mixture: MixtureConfig,
    rate: int,
) -> tuple[Array, Array, Array]:
    """Draws start, offset and length as `DrawSource` does: a crop holds half a second of active sound."""
    segment, needed = round(mixture.segment_seconds * rate), round(ACTIVE_SECONDS * rate)
    stored = clips.begin[chosen + 1] - clips.begin[chosen]

    def as_played(samples: Array) -> Array:
        return jnp.floor(samples.astype(jnp.float32) / speed).astype(jnp.int32)

    samples = jnp.maximum(1, as_played(stored))
    first, end = (jnp.minimum(samples, as_played(clips.active[chosen, edge])) for edge in (0, 1))
    needed = jnp.minimum(jnp.minimum(needed, segment), end - first)
    low = jnp.maximum(0, first + needed - segment)
    high = jnp.minimum(samples - segment, end - needed)
    key, offset_key = jax.random.split(key)
    start = jax.random.randint(key, chosen.shape, low, jnp.maximum(low, high) + 1)
    short = samples <= segment
    offset = jax.random.randint(offset_key, chosen.shape, 0, jnp.maximum(segment - samples, 0) + 1)
    start = jnp.floor(start.astype(jnp.float32) * speed).astype(jnp.int32)
    return (
        jnp.where(short, 0, start),
        jnp.where(short, offset, 0),
        jnp.where(short, samples, segment),
    )
