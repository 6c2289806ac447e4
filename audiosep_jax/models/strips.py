"""The folded separator for processors: wide blocks a strip of rows at a time, from cache to cache.

A block is two passes over its rows, one per convolution. What stands around a convolution (norm, activation,
the join of a decoder, the shortcut, pooling) is done on the strip that is in the caches, so that only the two
convolutions' results reach the memory.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from audiosep_jax.config import ModelConfig
from audiosep_jax.models import folded, winograd
from audiosep_jax.models.convolution import upsample
from audiosep_jax.models.normalization import NEGATIVE_SLOPE
from audiosep_jax.models.resunet import pooling_strides

Params = dict[str, Any]

# Narrower blocks, and blocks of fewer frequency bins, are left to XLA's own convolution (measured).
_CHANNELS = 32
_BINS = 64

# Positions of an upsampling strip.
_POSITIONS = 2048


def with_coefficients(config: ModelConfig, params: folded.FoldedParams) -> Params:
    """Returns folded parameters whose wide 3×3 kernels are coefficients, `[36, in, out]`."""
    depth, bins = len(config.encoder_widths), config.window_length // 2
    levels = {f"encoder{level + 1}": level for level in range(depth)}
    levels |= {f"decoder{depth - level}": level for level in range(depth)}
    found = dict(params)
    for name, level in levels.items():
        decoder = name.startswith("decoder")
        block = params[name]["block"] if decoder else params[name]
        wide = min(*block["conv1"].shape[2:], *block["conv2"].shape[2:]) >= _CHANNELS
        freq = bins >> level  # any even number above the lowest level
        if wide and freq >= _BINS and freq % winograd.TILE == 0:
            block = {**block, **{conv: winograd.coefficients(block[conv]) for conv in ("conv1", "conv2")}}
            found[name] = {**params[name], "block": block} if decoder else block
    return found


def mask_logits(
    config: ModelConfig,
    params: Params,
    magnitude: Float[Array, "batch frames bins"],
    columns: Float[Array, "batch columns"],
) -> Float[Array, "batch frames bins 3"]:
    """Returns what `folded.mask_logits` does, within rounding.

    Args:
      config: the model's shape.
      params: as `with_coefficients` returned them.
      magnitude: `[batch, frames, bins]`.
      columns: as `folded.film_columns` returns them for the condition.
    """
    film = folded.Columns(config, columns)
    with jax.named_scope("normalize"):
        hidden = folded.normalized(config, params["bn0"], magnitude)[..., None]
    strides, skips = pooling_strides(config), []
    for index, stride in enumerate(strides, start=1):
        expand = functools.partial(folded.pointwise, params["pre_conv"]) if index == 1 else _unchanged
        with jax.named_scope(f"encoder{index}"):
            skip, hidden = _encoder(params[f"encoder{index}"], hidden, film, expand, stride)
        skips.append(skip)
    for index in range(1, config.bottleneck_blocks + 1):
        with jax.named_scope(f"bottleneck{index}"):
            hidden = folded.residual(params[f"bottleneck{index}"], hidden, film)
    for index in range(1, len(strides) + 1):
        last = params["after_conv"] if index == len(strides) else None
        with jax.named_scope(f"decoder{index}"):
            hidden = _decoder(params[f"decoder{index}"], hidden, skips.pop(), film, last)
    return folded.cropped(hidden, magnitude.shape[1])


def _encoder(
    block: Params,
    inputs: Array,
    film: folded.Columns,
    expand: Callable[[Array], Array],
    stride: tuple[int, int],
) -> tuple[Array, Array]:
    """Returns what a block makes of `expand(inputs)`, and that pooled."""
    if block["conv1"].ndim == 4:
        skip = folded.residual(block, expand(inputs), film)
        return skip, _pooled(skip, stride)
    batch, time, freq, _ = inputs.shape
    inputs = _filled(inputs)
    _, channels, features = block["conv1"].shape
    first, second = film.affine(block.get("scale"), channels), film.affine(None, features)

    def convolve_first(place: _Place, inputs: _Strip) -> Sequence[Array]:
        strip = place.padded(_activation(first, place)(expand(inputs.rows)), time)
        return [_activation(second, place)(winograd.convolve(strip, block["conv1"])[None])]

    def convolve_second(place: _Place, hidden: _Strip, inputs: _Strip) -> Sequence[Array]:
        result = winograd.convolve(place.padded(hidden.rows, time), block["conv2"])[None]
        shortcut = expand(inputs.centre)
        result += folded.pointwise(block["shortcut"], shortcut) if "shortcut" in block else shortcut
        return [result, _pooled(result, stride)]

    shape = (*inputs.shape[:3], features)
    pooled_shape = (batch, inputs.shape[1] // stride[0], freq // stride[1], features)
    (hidden,) = _sweep([inputs], [shape], convolve_first)
    skip, pooled = _sweep([hidden, inputs], [shape, pooled_shape], convolve_second)
    return skip[:, :time], pooled[:, : time // stride[0]]


def _decoder(
    params: Params,
    inputs: Array,
    skip: Array,
    film: folded.Columns,
    last: folded.FoldedParams | None,
) -> Array:
    """Returns what a decoder makes of its inputs and a skip; the logits if it is the last."""
    block = params["block"]
    if block["conv1"].ndim == 4:
        activate = film.activation(params.get("scale"), inputs.shape[-1])
        joined = jnp.concatenate([upsample(activate(inputs), params["up"]), skip], axis=-1)
        result = folded.residual(block, joined, film)
        return result if last is None else folded.pointwise(last, result)
    raised = _upsampled(params, inputs, film)
    time = raised.shape[1]
    raised, skip = _filled(raised), _filled(skip)
    _, channels, features = block["conv1"].shape
    first, second = film.affine(block.get("scale"), channels), film.affine(None, features)

    def convolve_first(place: _Place, raised: _Strip, skip: _Strip) -> Sequence[Array]:
        rows = jnp.concatenate([raised.rows, skip.rows], axis=-1)
        strip = place.padded(_activation(first, place)(rows), time)
        return [_activation(second, place)(winograd.convolve(strip, block["conv1"])[None])]

    def convolve_second(place: _Place, hidden: _Strip, raised: _Strip, skip: _Strip) -> Sequence[Array]:
        strip = place.padded(hidden.rows, time)
        joined = jnp.concatenate([raised.centre, skip.centre], axis=-1)
        shortcut = folded.pointwise(block["shortcut"], joined)
        result = winograd.convolve(strip, block["conv2"])[None] + shortcut
        return [result if last is None else folded.pointwise(last, result)]

    (hidden,) = _sweep([raised, skip], [(*raised.shape[:3], features)], convolve_first)
    outputs = features if last is None else last["bias"].shape[0]
    (result,) = _sweep([hidden, raised, skip], [(*raised.shape[:3], outputs)], convolve_second)
    return result[:, :time]


def _upsampled(params: Params, inputs: Array, film: folded.Columns) -> Array:
    batch, time, freq, channels = inputs.shape
    tall, wide, _, features = params["up"].shape
    norm = film.affine(params.get("scale"), channels)

    def raise_strip(place: _Place, inputs: _Strip) -> Sequence[Array]:
        return [upsample(_activation(norm, place)(inputs.centre), params["up"])]

    rows = winograd.divisor(time, at_most=max(1, _POSITIONS // freq))
    return _sweep([inputs], [(batch, tall * time, wide * freq, features)], raise_strip, rows=rows)[0]


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a strip lies: index in the batch, first row, number of rows."""

    index: Array
    start: Array
    size: int

    def padded(self, rows: Array, time: int) -> Array:
        """Returns a strip's rows and neighbours as `[rows2, freq, channels]`, beyond the sound zeros."""
        place = self.start - 1 + jnp.arange(self.size + 2)
        inside = ((place >= 0) & (place < time))[None, :, None, None]
        return jnp.where(inside, rows, jnp.zeros((), rows.dtype))[0]


@dataclasses.dataclass(frozen=True)
class _Strip:
    """A strip, `[1, size, freq, channels]`, and the rows above and below it."""

    above: Array
    centre: Array
    below: Array

    @property
    def rows(self) -> Array:
        """All of them, `[1, size + 2, freq, channels]`."""
        return jnp.concatenate([self.above, self.centre, self.below], axis=1)


def _sweep(
    sources: Sequence[Array],
    targets: Sequence[tuple[int, ...]],
    strip: Callable[..., Sequence[Array]],
    *,
    rows: int | None = None,
) -> list[Array]:
    """Goes through arrays strip by strip.

    Args:
      sources: `[batch, time, freq, channels]`.
      targets: shapes `[batch, time', freq', channels']` of what comes out; time' a fixed multiple or fraction
        of the time.
      strip: takes the place and a strip of each source; returns that of each target.
      rows: of a strip; None for those of a convolution.

    Returns:
      The targets.
    """
    batch, time, freq, _ = sources[0].shape
    rows = rows or winograd.strip_rows(time, freq)
    count = time // rows

    def take(source: Array, index: Array, start: Array, size: int) -> Array:
        return jax.lax.dynamic_slice(source, (index, start, 0, 0), (1, size, *source.shape[2:]))

    def step(number: Array, targets: list[Array]) -> list[Array]:
        place = _Place(number // count, number % count * rows, rows)
        above, below = jnp.maximum(place.start - 1, 0), jnp.minimum(place.start + rows, time - 1)
        strips = [
            _Strip(
                *(take(each, place.index, *where) for where in ((above, 1), (place.start, rows), (below, 1)))
            )
            for each in sources
        ]
        return [
            jax.lax.dynamic_update_slice(
                target, part, (place.index, place.start * part.shape[1] // rows, 0, 0)
            )
            for target, part in zip(targets, strip(place, *strips), strict=True)
        ]

    return jax.lax.fori_loop(0, batch * count, step, [_fresh(shape, sources[0]) for shape in targets])


def _filled(array: Array) -> Array:
    """Returns an array with rows added, so that its time is a multiple of a tile's."""
    missing = -array.shape[1] % winograd.TILE
    return jnp.pad(array, ((0, 0), (0, missing), (0, 0), (0, 0))) if missing else array


def _fresh(shape: tuple[int, ...], after: Array) -> Array:
    """Returns an array to be overwritten.

    Its value is one of another array's: a constant would be shared by all such arrays, copied for each, and
    alive from the beginning.
    """
    return jnp.broadcast_to(jax.lax.slice(after, (0,) * 4, (1,) * 4), shape)


def _activation(norm: tuple[Array | None, Array], place: _Place) -> Callable[[Array], Array]:
    """Returns a norm with its leaky ReLU for one row of the batch."""

    def of_row(values: Array) -> Array:
        return values if values.shape[0] == 1 else jax.lax.dynamic_slice_in_dim(values, place.index, 1)

    factor, shift = norm
    factor, shift = None if factor is None else of_row(factor), of_row(shift)

    def activate(hidden: Array) -> Array:
        hidden = hidden if factor is None else hidden * factor
        return jax.nn.leaky_relu(hidden + shift, NEGATIVE_SLOPE)

    return activate


def _pooled(block: Array, stride: tuple[int, int]) -> Array:
    """Averages blocks of `stride` positions; as sums, which XLA:CPU computes faster than as a window."""
    batch, time, freq, channels = block.shape
    tall, wide = stride
    parts = block.reshape(batch, time // tall, tall, freq // wide, wide, channels)
    first, *others = (parts[:, :, i, :, j] for i in range(tall) for j in range(wide))
    return sum(others, start=first) / (tall * wide)


def _unchanged(rows: Array) -> Array:
    return rows
