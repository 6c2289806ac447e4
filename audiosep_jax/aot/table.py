"""A report on a screen."""

from rich.console import Console
from rich.table import Table

from audiosep_jax.aot.report import Report

_GIB = 1024**3


def print_report(report: Report, console: Console | None = None) -> None:
    """Prints memory, work, collectives, the roofline and the predicted scaling."""
    console = Console() if console is None else console
    console.print(_verdict(report), style="bold", soft_wrap=True, markup=False, highlight=False)
    console.print(_memory(report))
    if report.collectives is not None:
        console.print(_work(report))
    if report.scaling:
        console.print(_scaling(report))


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


def _memory(report: Report) -> Table:
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


def _work(report: Report) -> Table:
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


def _scaling(report: Report) -> Table:
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
