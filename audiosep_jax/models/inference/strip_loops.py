"""Loops over strips of an array's rows that pass rows on from strip to strip."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from audiosep_jax.models.inference import winograd

# Most rows by which a sweep's output may lag behind its input. Every array has so many rows before its first
# row and some more after its last, so that strips may start before the sound and end after it.
LAG = 8

# Tiles per strip: fewer make thin products, more do not fit the caches. And fewest strips of an array,
# because a sweep computes most of a strip beyond the end.
_TILES = 1024
_STRIPS = 8


@dataclasses.dataclass(frozen=True)
class Framed:
    """Rows with arbitrary other rows before and after them."""

    array: Float[Array, "batch rows freq channels"]  # LAG rows, `time` rows, and some more
    time: int

    @property
    def freq(self) -> int:
        """Number of frequency bins."""
        return self.array.shape[2]


def framed(array: Array | Framed) -> Framed:
    """Returns an array `[batch, time, freq, channels]` with rows around it."""
    if isinstance(array, Framed):
        return array
    time, freq = array.shape[1:3]
    return Framed(jnp.pad(array, ((0, 0), (LAG, _behind(time, freq)), (0, 0), (0, 0))), time)


def plain(array: Array | Framed) -> Array:
    """Returns the rows without the others, `[batch, time, freq, channels]`."""
    if not isinstance(array, Framed):
        return array
    return jax.lax.slice_in_dim(array.array, LAG, LAG + array.time, axis=1)


def strip_rows(time: int, freq: int) -> int:
    """Returns the rows of a strip: a multiple of a tile's, at least `LAG`."""
    wanted = min(_TILES * winograd.TILE // freq, -(-time // (_STRIPS * winograd.TILE)))
    return max(LAG, winograd.TILE * wanted)


@dataclasses.dataclass(frozen=True)
class Place:
    """The position of a strip: index in the batch, first row, number of rows."""

    index: Array | int
    start: Array
    size: int

    def rows(self, source: Framed, offset: int = 0, *, more: int = 0) -> Float[Array, "1 rows freq channels"]:
        """Returns `size + more` rows, starting `offset` rows after the strip's start."""
        start = (self.index, LAG + self.start + offset, 0, 0)
        return jax.lax.dynamic_slice(source.array, start, (1, self.size + more, *source.array.shape[2:]))

    def inside(
        self, rows: Float[Array, "1 rows freq channels"], offset: int, time: int
    ) -> Float[Array, "1 rows freq channels"]:
        """Returns rows that start `offset` after the strip's start, with zeros outside the sound."""
        number = self.start + offset + jnp.arange(rows.shape[1])
        inside = ((number >= 0) & (number < time))[None, :, None, None]
        return jnp.where(inside, rows, jnp.zeros((), rows.dtype))

    def of_batch(self, values: Array) -> Array:
        """Returns the values, `[batch or 1, ...]`, of the strip's row of the batch."""
        return values if values.shape[0] == 1 else jax.lax.dynamic_slice_in_dim(values, self.index, 1)

    def pooled(self, stride: int) -> "Place":
        """Returns the strip's position in an array with `stride` times fewer rows."""
        return Place(self.index, self.start // stride, self.size // stride)


def pushed(
    held: Float[Array, "1 rows freq channels"], rows: Float[Array, "1 size freq2 channels"], freq: int = 0
) -> Float[Array, "1 rows freq channels"]:
    """Returns `held` without its first `size` rows and with `rows` appended, from frequency bin `freq` on."""
    size = rows.shape[1]
    held = jax.lax.dynamic_update_slice(held, jax.lax.slice_in_dim(held, size, None, axis=1), (0,) * 4)
    return jax.lax.dynamic_update_slice(held, rows, (0, held.shape[1] - size, freq, 0))


@dataclasses.dataclass(frozen=True)
class Target:
    """The shape of a sweep's output: time (a fixed fraction of the sweep's), frequency bins, channels."""

    time: int
    freq: int
    channels: int


def sweep(
    source: Framed,
    shape: tuple[int, int],
    targets: Sequence[Target],
    held: Sequence[tuple[int, int, int]],
    strip: Callable[..., tuple[Sequence[Array], Sequence[Array]]],
    *,
    lag: int,
) -> list[Framed]:
    """Computes outputs of some shapes strip by strip; `source` is the input that is computed last.

    `shape` is time and frequency bins of the sweep. `held` are the shapes `(rows, freq, channels)` of the
    arrays passed on from strip to strip, zeros at first. `strip` takes a place and the held arrays; it
    returns the part of each output, `[1, size', freq', channels']`, which starts `lag` rows (at most `LAG`)
    before the place, and the next held arrays.
    """
    time, freq = shape
    size = strip_rows(time, freq)

    def through(index: Array | int, arrays: Sequence[Array]) -> Sequence[Array]:
        def step(number: Array, carry: tuple[list[Array], list[Array]]) -> tuple[list[Array], list[Array]]:
            arrays, kept = carry
            place = Place(index, number * size, size)
            parts, kept = strip(place, *kept)
            written = [
                jax.lax.dynamic_update_slice(
                    array, part, (index, LAG + (place.start - lag) * part.shape[1] // size, 0, 0)
                )
                for array, part in zip(arrays, parts, strict=True)
            ]
            return written, list(kept)

        nothing = [jnp.broadcast_to(zero_of(source), (1, *each)) for each in held]
        return jax.lax.fori_loop(0, -(-(time + lag) // size), step, (list(arrays), nothing))[0]

    batch = source.array.shape[0]
    arrays: Sequence[Array] = [_fresh(source, each) for each in targets]
    arrays = through(0, arrays) if batch == 1 else jax.lax.fori_loop(0, batch, through, list(arrays))
    return [Framed(array, target.time) for array, target in zip(arrays, targets, strict=True)]


def _fresh(source: Framed, target: Target) -> Array:
    """Returns an array to overwrite, filled with a value of the source.

    All arrays of a constant would share it, copy it, and keep it in memory from the start.
    """
    rows = LAG + target.time + _behind(target.time, target.freq)
    shape = (source.array.shape[0], rows, target.freq, target.channels)
    return jnp.broadcast_to(_value_of(source), shape)


def zero_of(source: Framed) -> Float[Array, ""]:
    """Returns a zero that the compiler cannot compute before the source."""
    value = _value_of(source)
    return (value > jnp.inf).astype(value.dtype)  # no number is above infinity


def _value_of(source: Framed) -> Array:
    return source.array[0, LAG, 0, 0]


def _behind(time: int, freq: int) -> int:
    return LAG + strip_rows(time, freq) + winograd.TILE
