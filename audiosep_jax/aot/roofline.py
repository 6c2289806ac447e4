"""The least time of a step on a slice of chips, with its collectives, and predictions for other slices."""

import dataclasses
import math

from audiosep_jax.aot.chips import FLOAT32_HIGH_PASSES, FLOAT32_PASSES, Chip, slice_shape
from audiosep_jax.aot.hlo import Collective

SIZES = (4, 8, 16, 32, 64, 128, 256)
"""Numbers of chips with a prediction."""

HOP_SECONDS = 1e-6
"""What one hop between neighbouring chips takes at least."""

# Shares of the whole array that pass through a chip's ports: an all-reduce is a reduce-scatter and an
# all-gather; on a bidirectional ring an all-to-all moves a quarter.
_PASSES = {"all-reduce": 2.0, "all-to-all": 0.25, "ragged-all-to-all": 0.25}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demand:
    """What one step asks of one device.

    Attributes:
      examples: clips that the device works on in a step.
      flops: as the compiler counts them.
      float32_flops: those of them that are products at `Precision.HIGHEST`, and at `Precision.HIGH`.
      hbm_bytes: read and written.
      fixed_hbm_bytes: those of them that no further example adds: the state, read once and written once.
      collectives: of a step.
    """

    examples: float
    flops: float
    float32_flops: tuple[float, float] = (0.0, 0.0)
    hbm_bytes: float
    fixed_hbm_bytes: float = 0.0
    collectives: tuple[Collective, ...] = ()

    def with_examples(self, examples: float) -> "Demand":
        """Returns the demand of another number of examples per device; the collectives stay."""
        factor = examples / self.examples
        grows = self.hbm_bytes - self.fixed_hbm_bytes
        highest, high = self.float32_flops
        return dataclasses.replace(
            self,
            examples=examples,
            flops=self.flops * factor,
            float32_flops=(highest * factor, high * factor),
            hbm_bytes=self.fixed_hbm_bytes + grows * factor,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Roofline:
    """Times of one step in seconds; none of them can be beaten.

    Attributes:
      compute_seconds: of the products, at the chip's peak.
      hbm_seconds: of the memory traffic, at the full bandwidth.
      interconnect_seconds: of all collectives.
      exposed_seconds: of those that no other work can hide, because the program waits for them.
      step_seconds: the longest of what can overlap, and then what cannot.
      binds: "compute", "hbm" or "interconnect", the longest of the first three.
    """

    compute_seconds: float
    hbm_seconds: float
    interconnect_seconds: float
    exposed_seconds: float
    step_seconds: float
    binds: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scaled:
    """A prediction for one size of a slice.

    Attributes:
      batch: "per chip" where every chip keeps its examples, "global" where they share the same batch.
      efficiency: examples per second and chip, relative to the smallest slice.
    """

    batch: str
    chips: int
    sides: tuple[int, ...]
    examples_per_step: int
    step_seconds: float
    examples_per_second: float
    efficiency: float
    binds: str


def roofline(demand: Demand, chip: Chip, sides: tuple[int, ...]) -> Roofline:
    """Returns the least time of a step.

    The products of a step, its traffic and what is asynchronous between chips can overlap at best, so the
    longest of the three counts; a synchronous collective stops the program and adds its time (Williams et
    al. 2009, "Roofline", with the interconnect as a third roof).
    """
    highest, high = demand.float32_flops
    passes = demand.flops + (FLOAT32_PASSES - 1) * highest + (FLOAT32_HIGH_PASSES - 1) * high
    compute = passes * chip.devices / chip.bf16_flops
    hbm = demand.hbm_bytes * chip.devices / chip.hbm_bandwidth
    hidden = exposed = 0.0
    for collective in demand.collectives:
        seconds = collective.times * collective_seconds(collective, chip, sides)
        if collective.asynchronous:
            hidden += seconds
        else:
            exposed += seconds
    parts = {"compute": compute, "hbm": hbm, "interconnect": hidden + exposed}
    return Roofline(
        compute_seconds=compute,
        hbm_seconds=hbm,
        interconnect_seconds=hidden + exposed,
        exposed_seconds=exposed,
        step_seconds=max(compute, hbm, hidden) + exposed,
        binds=max(parts, key=lambda name: parts[name]),
    )


LEAST_EXAMPLES = 8
"""With fewer clips per device XLA:TPU moves space into the batch, at several times the traffic."""


def scaling(demand: Demand, chip: Chip, sides: tuple[int, ...]) -> list[Scaled]:
    """Returns predictions for 4 to 256 chips, at the same examples per chip and at the same global batch.

    The program is taken to stay as it was compiled: the same collectives of the same bytes over more
    chips, flops and traffic in proportion to the examples of a device. With fewer than LEAST_EXAMPLES of
    them that does not hold, and no row says so.

    Args:
      demand: of the slice that was compiled for.
      chip: of all slices.
      sides: of the slice that was compiled for.
    """
    whole = demand.examples * math.prod(sides) * chip.devices
    rows: list[Scaled] = []
    for batch in ("per chip", "global"):
        first: float | None = None
        for chips in SIZES:
            share = demand.examples if batch == "per chip" else whole / (chips * chip.devices)
            if share != int(share) or (batch == "global" and share < min(demand.examples, LEAST_EXAMPLES)):
                continue
            shape = slice_shape(chip, chips)
            # Another size of group would be another mesh: the group is the whole slice.
            collectives = tuple(dataclasses.replace(one, group=0) for one in demand.collectives)
            changed = dataclasses.replace(demand.with_examples(share), collectives=collectives)
            seconds = roofline(changed, chip, shape)
            examples = round(share * chips * chip.devices)
            rate = examples / seconds.step_seconds
            first = rate / chips if first is None else first
            rows.append(
                Scaled(
                    batch=batch,
                    chips=chips,
                    sides=shape,
                    examples_per_step=examples,
                    step_seconds=seconds.step_seconds,
                    examples_per_second=rate,
                    efficiency=rate / chips / first,
                    binds=seconds.binds,
                )
            )
    return rows


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
