"""The least time of a step on a slice of chips, with its collectives, and predictions for other slices."""

import dataclasses
import math

from audiosep_jax.aot.chips import FLOAT32_HIGH_PASSES, FLOAT32_PASSES, Chip, slice_shape
from audiosep_jax.aot.hlo import Collective

SIZES = (4, 8, 16, 32, 64, 128, 256)
"""Numbers of chips with a prediction."""

HOP_SECONDS = 1e-6
"""Least time of one hop between neighbouring chips."""

# Share of the whole array that passes through a chip's ports, 1 by default: an all-reduce is a reduce-scatter
# and an all-gather; on a bidirectional ring an all-to-all moves a quarter.
_PASSES = {"all-reduce": 2.0, "all-to-all": 0.25, "ragged-all-to-all": 0.25}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demand:
    """Work of one step on one device.

    Attributes:
      examples: clips per device and step.
      flops: as the compiler counts them.
      float32_flops: the part in products at `Precision.HIGHEST`, and the part at `Precision.HIGH`.
      hbm_bytes: read and written.
      fixed_hbm_bytes: the part that does not grow with the examples: the state, read once and written once.
      collectives: of a step.
    """

    examples: float
    flops: float
    float32_flops: tuple[float, float] = (0.0, 0.0)
    hbm_bytes: float
    fixed_hbm_bytes: float = 0.0
    collectives: tuple[Collective, ...] = ()

    def with_examples(self, examples: float) -> "Demand":
        """Returns the demand with another number of examples per device and the same collectives."""
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
    """Lower bounds of the times of one step, in seconds.

    Attributes:
      compute_seconds: of the products, at the chip's peak.
      hbm_seconds: of the memory traffic, at the full bandwidth.
      interconnect_seconds: of all collectives.
      exposed_seconds: of the synchronous collectives, for which the program waits.
      step_seconds: the longest of the overlapping parts, plus the exposed part.
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
      batch: "per chip" keeps the examples per chip, "global" keeps the global batch.
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

    Products, memory traffic and asynchronous collectives can overlap, so the longest of the three counts; a
    synchronous collective stops the program and adds its time (Williams et al. 2009, "Roofline", with the
    interconnect as a third roof).
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

    The program is assumed to stay the same: the same collectives over more chips, FLOPs and traffic in
    proportion to the examples per device. That does not hold below LEAST_EXAMPLES per device, so there are no
    rows for fewer. `demand` and `sides` are those of the compiled slice.
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
            # The groups grow with the slice.
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

    A side that is closed to a ring has two ports, and half its length in hops; an open side has one port, and
    its whole length in hops. Groups smaller than the slice are assumed to use the same ports.

    References:
      Austin et al., "How to Scale Your Model", part 3 (https://jax-ml.github.io/scaling-book/sharding), 2025.
      Patarasuk & Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.
    """
    chips = math.prod(sides)
    # Two devices of one chip are one place of the ring.
    count = min(chips, math.ceil(collective.group / chip.devices)) if collective.group else chips
    if count < 2:
        return 0.0
    ports, hops = ports_and_hops(chip, sides)
    passes = _PASSES.get(collective.kind, 1.0)
    transfer = passes * collective.bytes * (count - 1) / count / (ports * chip.link_bandwidth)
    return max(transfer, max(passes, 1.0) * hops * HOP_SECONDS)


def ports_and_hops(chip: Chip, sides: tuple[int, ...]) -> tuple[int, int]:
    """Returns the ports of a chip at the edge, and the hops of the longest way across the slice.

    Examples:
      >>> from audiosep_jax.aot.chips import CHIPS
      >>> ports_and_hops(CHIPS["v5e"], (2, 4)), ports_and_hops(CHIPS["v5e"], (16, 16))
      ((2, 4), (4, 16))
    """
    ports = hops = 0
    for side in sides:
        if side == 1:
            continue
        closed = side % chip.ring == 0
        ports += 2 if closed else 1
        hops += side // 2 if closed else side - 1
    return ports, hops
