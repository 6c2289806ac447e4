"""Peak rates and memory of every TPU, with the sources of the numbers."""

import dataclasses
import math

from audiosep_jax.errors import DeviceError

_GIB = 1024**3

FLOAT32_PASSES = 6
"""Products of bfloat16 per product of float32 at `Precision.HIGHEST`: both factors are split into three
bfloat16 parts, and the six largest of nine partial products are computed (Henry, Tang & Heinecke 2019,
arXiv:1904.06376). At the default precision float32 is rounded to bfloat16, and one product is computed."""

FLOAT32_HIGH_PASSES = 3
"""The same at `Precision.HIGH`: two parts per factor, three of four partial products."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """One kind of TPU. Rates are of a whole chip, as its maker states them.

    Attributes:
      name: first part of a topology, such as "v5e".
      bf16_flops: peak of bfloat16 products and sums, FLOP/s.
      hbm_bytes: memory that the compiler may use, per device; a little less than the built-in memory.
      hbm_bandwidth: bytes/s.
      ici_bandwidth: bytes/s over all ports of the interconnect, both directions together.
      dimensions: of the grid of chips; a chip has two ports in each.
      ring: a side of a slice is closed to a ring if its length is a multiple of this.
      devices: JAX devices in one chip.
      config: the compiler's name of a chip with `devices` devices; empty is the default.
      source: address of the rates, and when they were read.
    """

    name: str
    bf16_flops: float
    hbm_bytes: int
    hbm_bandwidth: float
    ici_bandwidth: float
    dimensions: int
    ring: int
    devices: int = 1
    config: str = ""
    source: str

    @property
    def link_bandwidth(self) -> float:
        """Bytes/s of one port in one direction."""
        return self.ici_bandwidth / (2 * 2 * self.dimensions)


# hbm_bytes: from libtpu 0.0.42.1's error for a program that needs more ("exceeds available HBM (15.75G)").
# ici_bandwidth of v4 is derived: its page has no such number, but an all-reduce bandwidth of a pod, 1.1 PB/s,
# which is 4096 chips of 270 GB/s in each direction; for the other TPUs both numbers agree in this way.
CHIPS = {
    chip.name: chip
    for chip in (
        Chip(
            name="v4",
            bf16_flops=275e12,
            hbm_bytes=int(30.75 * _GIB),
            hbm_bandwidth=1200e9,
            ici_bandwidth=540e9,
            dimensions=3,
            ring=4,
            config="megacore",
            source="https://docs.cloud.google.com/tpu/docs/v4 (November 2026)",
        ),
        Chip(
            name="v5e",
            bf16_flops=197e12,
            hbm_bytes=int(15.75 * _GIB),
            hbm_bandwidth=819e9,
            ici_bandwidth=400e9,
            dimensions=2,
            ring=16,
            source="https://docs.cloud.google.com/tpu/docs/v5e (November 2026)",
        ),
        Chip(
            name="v5p",
            bf16_flops=459e12,
            hbm_bytes=int(95.74 * _GIB),
            hbm_bandwidth=2765e9,
            ici_bandwidth=1200e9,
            dimensions=3,
            ring=4,
            source="https://docs.cloud.google.com/tpu/docs/v5p (November 2026)",
        ),
        Chip(
            name="v6e",
            bf16_flops=918e12,
            hbm_bytes=int(31.25 * _GIB),
            hbm_bandwidth=1638e9,
            ici_bandwidth=800e9,
            dimensions=2,
            ring=16,
            source="https://docs.cloud.google.com/tpu/docs/v6e (November 2026)",
        ),
        Chip(
            name="tpu7x",
            bf16_flops=2307e12,
            hbm_bytes=int(94.75 * _GIB),
            hbm_bandwidth=7380e9,
            ici_bandwidth=1200e9,
            dimensions=3,
            ring=4,
            devices=2,
            source="https://docs.cloud.google.com/tpu/docs/tpu7x (November 2026)",
        ),
    )
}

_ALIASES = {"v5litepod": "v5e", "trillium": "v6e", "v7x": "tpu7x", "ironwood": "tpu7x"}


def chip_named(name: str) -> Chip:
    """Returns a chip by its name or one of its other names.

    Examples:
      >>> chip_named("Trillium").name
      'v6e'

    Raises:
      DeviceError: the table has no such chip.
    """
    chip = CHIPS.get(_ALIASES.get(name.lower(), name.lower()))
    if chip is None:
        raise DeviceError(f"there is no TPU {name!r} in the table: choose one of {', '.join(CHIPS)}.")
    return chip


def slice_shape(chip: Chip, chips: int) -> tuple[int, ...]:
    """Returns the sides of the most square slice of a number of chips, which is a power of two.

    Examples:
      >>> slice_shape(CHIPS["v5e"], 8), slice_shape(CHIPS["v5p"], 16)
      ((2, 4), (2, 2, 4))
    """
    sides = [1] * chip.dimensions
    for index in range(round(math.log2(chips))):
        sides[-1 - index % chip.dimensions] *= 2
    # A board is 2x2 chips, so four chips of a three-dimensional slice are in one plane.
    return (2, 2, 1) if chips == 4 and chip.dimensions == 3 else tuple(sides)
