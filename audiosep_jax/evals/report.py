"""The result of `audiosep evaluate` as JSON, as Markdown, and on the console."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from rich.markup import escape
from rich.table import Table

from audiosep_jax.evals.evaluate import ClassResult, EvaluationResult
from audiosep_jax.evals.statistics import Interval
from audiosep_jax.utils import atomic
from audiosep_jax.utils.atomic import replacing

_HEADER = ("mixtures", "SDRi", "95 % interval", "SI-SDRi", "SDR", "SI-SDR")
Group = Literal["kinds", "classes"]

GROUPS: dict[Group, str] = {"kinds": "kind", "classes": "class"}


def write_json(result: EvaluationResult, path: str | Path) -> None:
    """Writes the whole result, rows included."""
    atomic.write_json(path, dataclasses.asdict(result))


def write_json_list(results: Sequence[EvaluationResult], path: str | Path) -> None:
    """Writes several results, such as those of `measure_bounds`, as a list."""
    atomic.write_json(path, [dataclasses.asdict(result) for result in results])


def write_markdown(
    result: EvaluationResult | None,
    path: str | Path,
    *,
    bounds: Sequence[EvaluationResult] = (),
    gains: Sequence[EvaluationResult] = (),
) -> None:
    """Writes `markdown` of the results."""
    with replacing(path) as temporary:
        temporary.write_text(markdown(result, bounds=bounds, gains=gains), "utf-8")


def markdown(
    result: EvaluationResult | None,
    *,
    bounds: Sequence[EvaluationResult] = (),
    gains: Sequence[EvaluationResult] = (),
) -> str:
    """Returns tables as Markdown: per kind, if the set has kinds, and per class, with the overall means last.

    Args:
      result: of the model; None if only bounds were measured.
      bounds: results of `measure_bounds`: their SDRi stands beside the model's, and they get a table.
      gains: of the same model and set at other gains: they get a table.
    """
    main = result or bounds[0]
    lines = [f"## {main.title if result else f'Floors and ceilings on {main.set_name}'}", ""]
    for group in GROUPS:
        if rows := group_rows(result, group, bounds=bounds):
            rows[-1] = tuple(f"**{cell}**" for cell in rows[-1])
            lines += [*markdown_table(group_header(result, group, bounds=bounds), rows), ""]
    if result and gains:
        lines += [*markdown_table(GAINS_HEADER, gain_rows([result, *gains])), ""]
    if bounds and bounds[0].overall:
        lines += [*markdown_table(BOUNDS_HEADER, bound_rows(bounds)), ""]
    return "\n".join([*lines, *_notes(main, bounds=bounds, absent=bool(result))]) + "\n"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table, the first column aligned left and the others right.

    Examples:
      >>> markdown_table(["class", "SDRi"], [["rain", "5.20"]])
      ['| class | SDRi |', '| --- | ---: |', '| rain | 5.20 |']
    """

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(header), "| --- |" + " ---: |" * (len(header) - 1), *map(line, rows)]


def console_table(result: EvaluationResult | None, *, bounds: Sequence[EvaluationResult] = ()) -> Table:
    """Returns the first table of `markdown` for a rich console: per kind, or per class without kinds."""
    main = result or bounds[0]
    title = main.title if result else f"Floors and ceilings on {main.set_name}"
    notes = _notes(main, bounds=bounds, absent=bool(result))
    table = Table(title=escape(title), caption="\n".join(notes), caption_justify="left")
    group: Group = "kinds" if main.kinds else "classes"
    # With the bounds, fewer columns of the model fit beside each other.
    shown = slice(0, 4) if result and bounds else slice(0, None)
    columns = len(group_header(result, group))
    for index, name in enumerate(_beside(group_header(result, group, bounds=bounds), shown, columns)):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=index < columns)
    rows = group_rows(result, group, bounds=bounds)
    for index, row in enumerate(rows):
        last = index == len(rows) - 1
        table.add_row(
            *map(escape, _beside(row, shown, columns)),
            style="bold" if last else None,
            end_section=index == len(rows) - 2,
        )
    return table


def _beside(row: tuple[str, ...], shown: slice, columns: int) -> tuple[str, ...]:
    """Returns the shown ones of the first columns, and all others."""
    return (*row[:columns][shown], *row[columns:])


def console_gains(results: Sequence[EvaluationResult]) -> Table:
    """Returns the table of gains for a rich console."""
    table = Table(*GAINS_HEADER)
    for row in gain_rows(results):
        table.add_row(*row)
    return table


def group_header(
    result: EvaluationResult | None, group: Group, *, bounds: Sequence[EvaluationResult] = ()
) -> tuple[str, ...]:
    """Returns the heading of `group_rows`."""
    own = _HEADER if result else _HEADER[:1]
    return (GROUPS[group], *own, *(bound.model for bound in bounds))


def group_rows(
    result: EvaluationResult | None, group: Group, *, bounds: Sequence[EvaluationResult] = ()
) -> list[tuple[str, ...]]:
    """Returns a row per kind or class, and one of the overall means; none if there are no kinds or classes.

    A row has the model's numbers, if there is a `result`, and the SDRi of each bound.
    """
    tables = [means(one, group) for one in ([result] if result else []) + list(bounds)]
    rows = []
    for of_one in zip(*tables, strict=True):
        own = _row(of_one[0]) if result else _row(of_one[0])[:2]
        rows.append((*own, *(f"{one.sdri_db.mean:.2f}" for one in of_one[1 if result else 0 :])))
    return rows


GAINS_HEADER = (
    "gain of the mixture",
    "SDRi",
    "95 % interval",
    "SI-SDRi",
    "absent queries: below the mixture",
)
BOUNDS_HEADER = ("floor or ceiling", "SDRi", "95 % interval", "SI-SDRi", "SDR", "SI-SDR")


def gain_rows(results: Sequence[EvaluationResult]) -> list[tuple[str, ...]]:
    """Returns a row of overall means per gain, the loudest first."""
    rows = []
    for one in sorted(results, key=lambda one: -one.gain_db):
        absent = one.absent_attenuation_db
        measured = ("–",) * 3
        if one.overall:
            sdri = one.overall.sdri_db
            measured = (f"{sdri.mean:.2f}", _ends(sdri), f"{one.overall.si_sdri_db.mean:.2f}")
        rows.append((f"{one.gain_db:g} dB", *measured, f"{absent.mean:.2f}" if absent else "–"))
    return rows


def bound_rows(bounds: Sequence[EvaluationResult]) -> list[tuple[str, ...]]:
    """Returns a row of overall means per floor or ceiling."""
    return [(bound.model, *_row(bound.overall)[2:]) for bound in bounds if bound.overall]


def means(result: EvaluationResult, group: Group) -> list[ClassResult]:
    """Returns the means per kind or class, then the overall means; none if there are no kinds or classes."""
    groups = result.kinds if group == "kinds" else result.classes
    return [*groups, result.overall] if groups and result.overall else []


def _row(one: ClassResult) -> tuple[str, ...]:
    values = (f"{value.mean:.2f}" for value in (one.si_sdri_db, one.sdr_db, one.si_sdr_db))
    return (
        one.label.replace("_", " "),
        str(one.count),
        f"{one.sdri_db.mean:.2f}",
        _ends(one.sdri_db),
        *values,
    )


def _ends(interval: Interval) -> str:
    return f"{interval.low:.2f} … {interval.high:.2f}"


def rates(result: EvaluationResult) -> str:
    """Returns the rate of the measurement in words, with that of the model where the two differ."""
    measured = f"{result.sample_rate_hz / 1000:g} kHz"
    if result.model_sample_rate_hz == result.sample_rate_hz:
        return measured
    return f"{measured} (the model works at {result.model_sample_rate_hz / 1000:g} kHz)"


def _notes(result: EvaluationResult, *, bounds: Sequence[EvaluationResult], absent: bool) -> list[str]:
    notes = [f"Means in dB; {result.seconds:g} s mixtures, measured at {rates(result)}."]
    if bounds:
        notes.append(bounds_note(bounds))
    if absent and (attenuation := result.absent_attenuation_db):
        notes.append(
            f"Queries that name neither sound: the estimate lies {attenuation.mean:.2f} dB "
            f"({_ends(attenuation)}) below the mixture, mean of {len(result.absent)}."
        )
    return notes


def bounds_note(bounds: Sequence[EvaluationResult]) -> str:
    """Says in words what the columns of the bounds hold."""
    floors, ceilings = bounds[:2], bounds[2:]
    return (
        f"SDRi of floors that know no query ({', '.join(one.model for one in floors)}) and of ceilings that "
        f"know the target ({', '.join(one.model for one in ceilings)}, with the model's window and hop at "
        f"{ceilings[0].model_sample_rate_hz / 1000:g} kHz), on the same mixtures."
    )
