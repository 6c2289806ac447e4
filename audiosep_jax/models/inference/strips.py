"""The folded separator for processors: wide blocks are computed a strip of rows at a time, within the caches.

A block is one pass over its rows. A strip goes through the whole block (upsampling, the join of a decoder,
norms, activations, both convolutions, the shortcut, pooling) while it is in the caches. The few rows of the
strip before that a convolution needs are passed on, so only the block's output is written to memory.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from audiosep_jax.config import ModelConfig
from audiosep_jax.models.convolution import upsample
from audiosep_jax.models.inference import folded, winograd
from audiosep_jax.models.inference.strip_loops import (
    LAG,
    Framed,
    Place,
    Target,
    framed,
    plain,
    pushed,
    strip_rows,
    sweep,
    zero_of,
)
from audiosep_jax.models.resunet import pooling_strides

Params = dict[str, Any]

# XLA's own convolution is faster for narrower blocks and fewer frequency bins (measured).
_CHANNELS = 32
_BINS = 128

# Rows by which a convolution's output lags behind its input: it needs one row after those it computes.
_BEHIND = winograd.TILE


def wide_blocks(config: ModelConfig) -> frozenset[str]:
    """Returns the names of the blocks to compute in strips with Winograd's convolutions."""
    depth, bins, widths = len(config.encoder_widths), config.positions, config.encoder_widths
    found = set()
    for level, width in enumerate(widths):
        freq = bins >> level  # any even number above the lowest level
        if freq < _BINS or freq % winograd.TILE:
            continue
        if min(width, widths[max(0, level - 1)]) >= _CHANNELS:
            found.add(f"encoder{level + 1}")
        if width >= _CHANNELS:
            found.add(f"decoder{depth - level}")
    return frozenset(found)


def mask_logits(
    config: ModelConfig,
    params: Params,
    magnitude: Float[Array, "batch frames bins"],
    columns: Float[Array, "batch columns"],
) -> Float[Array, "batch frames bins 3"]:
    """Returns the logits of `folded.mask_logits`, within rounding."""
    film = folded.Columns(config, columns)
    with jax.named_scope("normalize"):
        hidden = folded.normalized(config, params["bn0"], magnitude)
    strides, skips, wide = pooling_strides(config), [], wide_blocks(config)
    for index, stride in enumerate(strides, start=1):
        expand = functools.partial(folded.pointwise, params["pre_conv"]) if index == 1 else _unchanged
        with jax.named_scope(f"encoder{index}"):
            encoder = _encoder if f"encoder{index}" in wide else _plain_encoder
            skip, hidden = encoder(params[f"encoder{index}"], hidden, film, expand, stride)
        skips.append(skip)
    for index in range(1, config.bottleneck_blocks + 1):
        with jax.named_scope(f"bottleneck{index}"):
            hidden = folded.residual(params[f"bottleneck{index}"], plain(hidden), film)
    for index in range(1, len(strides) + 1):
        last = params["after_conv"] if index == len(strides) else None
        with jax.named_scope(f"decoder{index}"):
            decoder = _decoder if f"decoder{index}" in wide else _plain_decoder
            hidden = decoder(params[f"decoder{index}"], hidden, skips.pop(), film, last)
    return folded.cropped(config, plain(hidden), magnitude.shape[1])


def _encoder(
    block: Params,
    inputs: Array | Framed,
    film: folded.Columns,
    expand: Callable[[Array], Array],
    stride: tuple[int, int],
) -> tuple[Array | Framed, Array | Framed]:
    """Returns a block's output for `expand(inputs)`, and the pooled output."""
    inputs = framed(inputs)
    channels, features = block["conv1"].shape[2:]
    kernels = _coefficients(block, inputs)
    time, freq, (tall, wide) = inputs.time, inputs.freq, stride
    first, second = film.affine(block.get("scale"), channels), film.affine(None, features)

    def strip(place: Place, tiles: Array, hidden: Array) -> tuple[Sequence[Array], Sequence[Array]]:
        rows = _activated(expand(place.rows(inputs, -1, more=2)), first, place)
        tiles = _laid(tiles, place.inside(rows, -1, time))
        rows = _activated(winograd.convolve(tiles[0], kernels[0])[None], second, place)
        hidden = pushed(hidden, place.inside(rows, 0, time), 1)
        shortcut = expand(place.rows(inputs, -_BEHIND))
        shortcut = folded.pointwise(block["shortcut"], shortcut) if "shortcut" in block else shortcut
        result = winograd.convolve(hidden[0, :-1], kernels[1])[None] + shortcut
        return [result, _pooled(result, stride)], [tiles, hidden]

    skip, pooled = sweep(
        inputs,
        (time, freq),
        [Target(time, freq, features), Target(time // tall, freq // wide, features)],
        _held(time, freq, channels, features),
        strip,
        lag=_BEHIND,
    )
    return skip, pooled


def _decoder(
    params: Params,
    inputs: Array | Framed,
    skip: Array | Framed,
    film: folded.Columns,
    last: folded.FoldedParams | None,
) -> Array | Framed:
    """Returns a decoder's output for its inputs and a skip; the logits for the last decoder."""
    block = params["block"]
    inputs, skip = framed(inputs), framed(skip)
    channels, features = block["conv1"].shape[2:]
    kernels = _coefficients(block, inputs)
    tall, _, below, raised_channels = params["up"].shape
    time, freq = tall * inputs.time, skip.freq
    lower = film.affine(params.get("scale"), below)
    first, second = film.affine(block.get("scale"), channels), film.affine(None, features)
    norms = list(zip(*(_halves(each, raised_channels) for each in first), strict=True))

    def strip(
        place: Place, raised: Array, tiles: Array, hidden: Array
    ) -> tuple[Sequence[Array], Sequence[Array]]:
        rows = _activated(place.pooled(tall).rows(inputs), lower, place)
        raised = pushed(raised, upsample(rows, params["up"]))
        # Both convolutions need rows after those that they compute: the first lags 4 rows behind the
        # upsampled rows, the second 4 rows behind the first.
        first_row = -_BEHIND
        above = LAG + first_row - 1
        around = [raised[:, above : above + place.size + 2], place.rows(skip, first_row - 1, more=2)]
        for start, rows, norm in zip((0, raised_channels), around, norms, strict=True):
            rows = place.inside(_activated(rows, norm, place), first_row - 1, time)
            tiles = _laid(tiles, rows, start)
        rows = _activated(winograd.convolve(tiles[0], kernels[0])[None], second, place)
        hidden = pushed(hidden, place.inside(rows, first_row, time), 1)
        joined = jnp.concatenate([raised[:, : place.size], place.rows(skip, -LAG)], axis=-1)
        shortcut = folded.pointwise(block["shortcut"], joined)
        result = winograd.convolve(hidden[0, :-1], kernels[1])[None] + shortcut
        return [result if last is None else folded.pointwise(last, result)], [raised, tiles, hidden]

    outputs = features if last is None else last["bias"].shape[0]
    held = [(strip_rows(time, freq) + LAG, freq, raised_channels), *_held(time, freq, channels, features)]
    return sweep(inputs, (time, freq), [Target(time, freq, outputs)], held, strip, lag=LAG)[0]


def _plain_encoder(
    block: Params,
    inputs: Array | Framed,
    film: folded.Columns,
    expand: Callable[[Array], Array],
    stride: tuple[int, int],
) -> tuple[Array, Array]:
    skip = folded.residual(block, expand(plain(inputs)), film)
    return skip, _pooled(skip, stride)


def _plain_decoder(
    params: Params,
    inputs: Array | Framed,
    skip: Array | Framed,
    film: folded.Columns,
    last: folded.FoldedParams | None,
) -> Array:
    result = folded.decoded(params, plain(inputs), plain(skip), film)
    return result if last is None else folded.pointwise(last, result)


def _coefficients(block: Params, source: Framed) -> tuple[Array, Array]:
    """Returns the coefficients of both kernels, computed when the block's source is ready.

    They are four times as large as the kernels: kept for all blocks, they would take most of a model's
    memory.
    """
    zero = zero_of(source)
    return winograd.coefficients(block["conv1"] + zero), winograd.coefficients(block["conv2"] + zero)


def _held(time: int, freq: int, channels: int, features: int) -> list[tuple[int, int, int]]:
    """Returns the shapes of both convolutions' inputs, with zeros around the frequency bins."""
    rows, wide = strip_rows(time, freq) + winograd.TILE, freq + winograd.TILE
    return [(rows, wide, channels), (rows + 1, wide, features)]


def _laid(tiles: Array, rows: Array, channel: int = 0) -> Array:
    return jax.lax.dynamic_update_slice(tiles, rows, (0, 0, 1, channel))


def _halves(values: Array | None, first: int) -> tuple[Array | None, Array | None]:
    """Returns the values of the first channels and of the others."""
    return (None, None) if values is None else (values[..., :first], values[..., first:])


def _activated(rows: Array, norm: tuple[Array | None, Array], place: Place) -> Array:
    """Applies the norm of one row of the batch, and its leaky ReLU."""
    factor, shift = norm
    return folded.activated(rows, None if factor is None else place.of_batch(factor), place.of_batch(shift))


def _pooled(block: Array, stride: tuple[int, int]) -> Array:
    """Averages blocks of `stride` positions, as sums, which XLA:CPU computes faster than a window."""
    batch, time, freq, channels = block.shape
    tall, wide = stride
    parts = block.reshape(batch, time // tall, tall, freq // wide, wide, channels)
    first, *others = (parts[:, :, i, :, j] for i in range(tall) for j in range(wide))
    return sum(others, start=first) / (tall * wide)


def _unchanged(rows: Array) -> Array:
    return rows
