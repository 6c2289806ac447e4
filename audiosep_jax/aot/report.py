"""The report of a compiled step: a dataclass that becomes JSON, and its tables for a terminal."""

import dataclasses
import importlib.metadata
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from audiosep_jax.aot import hlo
from audiosep_jax.aot.compiled_step import Compiled
from audiosep_jax.aot.roofline import Demand, Roofline, Scaled, roofline, scaling
from audiosep_jax.aot.topology import Topology
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.utils.serialization import to_dict

_LARGEST = 8
_GIB = 1024**3


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollectiveSum:
    """All collectives of one kind in a step.

    Attributes:
      count: operations, each as often as it runs.
      bytes: of their whole arrays on one device.
      asynchronous: operations during which other work may run.
      parameter_bytes: of arrays with two axes or more, which gradients and parameters have.
      vector_bytes: of the others: statistics of BatchNorm, gradients of vectors, the loss.
    """

    count: int
    bytes: int
    asynchronous: int
    parameter_bytes: int
    vector_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Memory, work and least time of one train step. Bytes and FLOPs are per device and step.

    Attributes:
      devices: number of JAX devices; two per chip on tpu7x, else one.
      batch: global, in clips.
      hbm_bytes_capacity: HBM that the compiler may use; None for local devices.
      argument_bytes: state and batch.
      output_bytes: the new state and the metrics.
      alias_bytes: part of the output that reuses the memory of the old state.
      temporary_bytes: activations and everything else that only exists within the step.
      program_bytes: the program itself.
      total_hbm_bytes: argument + output - alias + temporary + program; the needed bytes if it does not fit.
      headroom_bytes: capacity - total; negative if it does not fit.
      flops_per_example: as the compiler counts them, recomputation included.
      hbm_bytes_per_example: traffic, as the compiler counts it.
      largest_collectives: "kind type[shape] operation", largest first.
      roofline: parts of the step's least time; None for local devices.
      roofline_step_seconds: the step's least time.
      examples_per_second: of the whole slice, at the least time.
      scaling: predictions for 4 to 256 chips.
      config: of the experiment, with all overrides.
    """

    topology: str
    chips: int
    devices: int
    batch: int
    fits: bool
    hbm_bytes_capacity: int | None
    argument_bytes: int
    output_bytes: int | None
    alias_bytes: int | None
    temporary_bytes: int | None
    program_bytes: int | None
    total_hbm_bytes: int
    headroom_bytes: int | None
    parameters: int
    flops_per_example: float | None
    hbm_bytes_per_example: float | None
    collectives: dict[str, CollectiveSum] | None
    largest_collectives: list[str] | None
    roofline: Roofline | None
    roofline_step_seconds: float | None
    examples_per_second: float | None
    scaling: list[Scaled] | None
    compile_seconds: float
    versions: dict[str, str]
    config: dict[str, Any]


def versions() -> dict[str, str]:
    """Returns the versions that a compiled program depends on."""
    try:
        libtpu = importlib.metadata.version("libtpu")
    except importlib.metadata.PackageNotFoundError:
        libtpu = ""
    return {"jax": jax.__version__, "libtpu": libtpu}


def make_report(config: ExperimentConfig, topology: Topology, compiled: Compiled) -> Report:
    """Returns the report of a compiled step, or of one that does not fit."""
    chip = topology.chip
    memory = _memory(compiled)
    capacity = compiled.available_bytes or (chip.hbm_bytes if chip else None)
    demand = demand_of(config, compiled)
    found = list(demand.collectives) if demand else []
    times = roofline(demand, chip, topology.sides) if demand and chip else None
    return Report(
        topology=topology.name,
        chips=topology.chips,
        devices=len(topology.devices),
        batch=config.train.batch_size,
        fits=compiled.executable is not None,
        hbm_bytes_capacity=capacity,
        **memory,
        headroom_bytes=None if capacity is None else capacity - memory["total_hbm_bytes"],
        parameters=compiled.parameters,
        flops_per_example=demand.flops / demand.examples if demand else None,
        hbm_bytes_per_example=demand.hbm_bytes / demand.examples if demand else None,
        collectives=_sums(found) if demand else None,
        largest_collectives=_largest(found) if demand else None,
        roofline=times,
        roofline_step_seconds=times.step_seconds if times else None,
        examples_per_second=config.train.batch_size / times.step_seconds if times else None,
        scaling=scaling(demand, chip, topology.sides) if demand and chip else None,
        compile_seconds=compiled.seconds,
        versions=versions(),
        config=to_dict(config),
    )


def demand_of(config: ExperimentConfig, compiled: Compiled) -> Demand | None:
    """Returns the work of a step on a device, or None if it does not fit.

    The compiler counts the body of a loop once. The loop over microbatches holds all work that grows with the
    batch, so this part is multiplied by their number.
    """
    if compiled.executable is None:
        return None
    costs = compiled.executable.cost_analysis()
    assert costs is not None
    text = compiled.executable.as_text()
    assert text is not None
    parts = config.execution.microbatches
    products = hlo.product_flops(text)
    fixed = min(2.0 * compiled.state_bytes, costs["bytes accessed"])
    return Demand(
        examples=config.train.batch_size / compiled.mesh.size,
        flops=costs["flops"] * parts,
        # `product_flops` has counted the trips of loops already.
        float32_flops=(products["highest"], products["high"]),
        hbm_bytes=fixed + (costs["bytes accessed"] - fixed) * parts,
        fixed_hbm_bytes=fixed,
        collectives=tuple(hlo.collectives(text)),
    )


def _memory(compiled: Compiled) -> dict[str, Any]:
    if compiled.executable is None:
        unknown = dict.fromkeys(("output_bytes", "alias_bytes", "temporary_bytes", "program_bytes"))
        wanted = compiled.wanted_bytes or 0
        return unknown | {"argument_bytes": compiled.argument_bytes, "total_hbm_bytes": wanted}
    sizes = compiled.executable.memory_analysis()
    assert sizes is not None
    parts = {
        "argument_bytes": sizes.argument_size_in_bytes,
        "output_bytes": sizes.output_size_in_bytes,
        "alias_bytes": sizes.alias_size_in_bytes,
        "temporary_bytes": sizes.temp_size_in_bytes,
        "program_bytes": sizes.generated_code_size_in_bytes,
    }
    return parts | {"total_hbm_bytes": sum(parts.values()) - 2 * parts["alias_bytes"]}


def _sums(found: list[hlo.Collective]) -> dict[str, CollectiveSum]:
    sums = {}
    for kind in sorted({one.kind for one in found}):
        same = [one for one in found if one.kind == kind]
        large = sum(a.bytes * one.times for one in same for a in one.arrays if len(a.shape) > 1)
        total = sum(one.bytes * one.times for one in same)
        sums[kind] = CollectiveSum(
            count=sum(one.times for one in same),
            bytes=total,
            asynchronous=sum(one.times for one in same if one.asynchronous),
            parameter_bytes=large,
            vector_bytes=total - large,
        )
    return sums


def _largest(found: list[hlo.Collective]) -> list[str]:
    arrays = [(array, one) for one in found for array in one.arrays]
    arrays.sort(key=lambda pair: -pair[0].bytes)
    return [
        f"{one.kind} {array.type}{list(array.shape)} {one.operation}".rstrip()
        for array, one in arrays[:_LARGEST]
    ]


def print_report(report: Report) -> None:
    """Prints memory, work, collectives, the roofline and the predicted scaling."""
    console = Console()
    console.print(_verdict(report), style="bold", soft_wrap=True, markup=False, highlight=False)
    console.print(_memory_table(report))
    if report.collectives is not None:
        console.print(_work_table(report))
    if report.scaling:
        console.print(_scaling_table(report))


def _verdict(report: Report) -> str:
    where = f"{report.config['name']}, batch {report.batch} on {report.topology}"
    if report.headroom_bytes is None:
        return f"{where}: compiled."
    if report.fits:
        return f"{where}: fits, {report.headroom_bytes / _GIB:.2f} GiB of each device are left."
    return (
        f"{where}: does not fit, {-report.headroom_bytes / _GIB:.2f} GiB per device are missing. Try a "
        "smaller --batch, more chips, or --set execution.compute=bfloat16, execution.remat=blocks, "
        "execution.lanes=128, execution.microbatches=2."
    )


def _memory_table(report: Report) -> Table:
    table = Table(title="HBM per device", title_justify="left")
    table.add_column("part")
    table.add_column("GiB", justify="right")
    rows = {
        "arguments (state and batch)": report.argument_bytes,
        "outputs": report.output_bytes,
        "of them in place": report.alias_bytes,
        "temporaries": report.temporary_bytes,
        "program": report.program_bytes,
        "total": report.total_hbm_bytes,
        "available": report.hbm_bytes_capacity,
    }
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, f"{value / _GIB:.3f}")
    return table


def _work_table(report: Report) -> Table:
    table = Table(title="One step", title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_row("parameters", f"{report.parameters:,}")
    table.add_row("TFLOP per example", f"{(report.flops_per_example or 0) / 1e12:.4f}")
    table.add_row("GB of HBM traffic per example", f"{(report.hbm_bytes_per_example or 0) / 1e9:.3f}")
    for kind, one in (report.collectives or {}).items():
        hidden = f", {one.asynchronous} asynchronous" if one.asynchronous else ""
        table.add_row(f"{kind}: {one.count}{hidden}", f"{one.bytes / 1e6:.2f} MB")
    if report.roofline is not None:
        times = report.roofline
        table.add_row("compute", f"{1e3 * times.compute_seconds:.2f} ms")
        table.add_row("HBM", f"{1e3 * times.hbm_seconds:.2f} ms")
        table.add_row("interconnect", f"{1e3 * times.interconnect_seconds:.3f} ms")
        table.add_row(f"least step time (bound by {times.binds})", f"{1e3 * times.step_seconds:.2f} ms")
        table.add_row("examples per second, at most", f"{report.examples_per_second:.1f}")
    table.add_row("compiled in", f"{report.compile_seconds:.0f} s")
    return table


def _scaling_table(report: Report) -> Table:
    table = Table(title="Predicted, at the roofline", title_justify="left")
    for name in ("batch", "chips", "slice", "clips", "step, ms", "clips/s", "efficiency", "binds"):
        left = name in ("batch", "slice", "binds")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for row in report.scaling or ():
        table.add_row(
            row.batch,
            str(row.chips),
            "x".join(map(str, row.sides)),
            str(row.examples_per_step),
            f"{1e3 * row.step_seconds:.2f}",
            f"{row.examples_per_second:.1f}",
            f"{row.efficiency:.1%}",
            row.binds,
        )
    return table
