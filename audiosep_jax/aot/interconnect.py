"""How long collectives take between the chips of a TPU slice."""

import math

from audiosep_jax.aot.chips import Chip
from audiosep_jax.aot.hlo import Collective

HOP_SECONDS = 1e-6
"""What one hop between neighbouring chips takes at least."""

# Shares of the whole array that pass through a chip's ports: an all-reduce is a reduce-scatter and an
# all-gather; on a bidirectional ring an all-to-all moves a quarter.
_PASSES = {"all-reduce": 2.0, "all-to-all": 0.25, "ragged-all-to-all": 0.25}


def collective_seconds(collective: Collective, chip: Chip, sides: tuple[int, ...]) -> float:
    """Returns the time of one run of a collective over a slice, at the interconnect's full speed.

    With V bytes, n chips, W bytes/s over the ports that a chip uses and passes p (2 for an all-reduce, 1 for
    an all-gather or a reduce-scatter):

        T = max(p · V · (n − 1) / n / W,  p · hops · 1 µs)

    A side that is closed to a ring gives two ports and half its length in hops; an open one gives one port
    and needs all of its hops. Groups smaller than the slice are taken to use the same ports.

    Args:
      collective: its bytes and group.
      chip: gives the speed of a port.
      sides: chips along each dimension.

    References:
      Austin et al., "How to Scale Your Model", part 3 (https://jax-ml.github.io/scaling-book/sharding), 2025.
      Patarasuk & Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.
    """
    chips = math.prod(sides)
    # Two devices in one chip meet there, and the chip is one place of the ring.
    count = min(chips, math.ceil(collective.group / chip.devices)) if collective.group else chips
    if count < 2:
        return 0.0
    ports, hops = ports_and_hops(chip, sides)
    passes = _PASSES.get(collective.kind, 1.0)
    transfer = passes * collective.bytes * (count - 1) / count / (ports * chip.link_bandwidth)
    return max(transfer, max(passes, 1.0) * hops * HOP_SECONDS)


def ports_and_hops(chip: Chip, sides: tuple[int, ...]) -> tuple[int, int]:
    """Returns the ports that a chip at the edge sends through, and the longest way across the slice."""
    ports = hops = 0
    for side in sides:
        if side == 1:
            continue
        closed = side % chip.ring == 0
        ports += 2 if closed else 1
        hops += side // 2 if closed else side - 1
    return ports, hops
