"""The result of `audiosep evaluate` as JSON, as Markdown, and on the console."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from audiosep_jax.evals.evaluate import ClassResult, EvaluationResult
from audiosep_jax.evals.statistics import Interval
from audiosep_jax.utils import atomic
from audiosep_jax.utils.atomic import replacing

_HEADER = ("class", "mixtures", "SDRi", "95 % interval", "SI-SDRi", "SDR", "SI-SDR")


def write_json(result: EvaluationResult, path: str | Path) -> None:
    """Writes the whole result, rows included."""
    atomic.write_json(path, dataclasses.asdict(result))


def write_markdown(result: EvaluationResult, path: str | Path) -> None:
    """Writes `markdown(result)`."""
    with replacing(path) as temporary:
        temporary.write_text(markdown(result), "utf-8")


def markdown(result: EvaluationResult) -> str:
    """Returns the table per class, with the overall means last, as Markdown."""
    lines = [f"## {result.title}", ""]
    rows = _class_rows(result)
    if rows:
        rows[-1] = tuple(f"**{cell}**" for cell in rows[-1])
        lines += [*markdown_table(_HEADER, rows), ""]
    return "\n".join([*lines, *_notes(result)]) + "\n"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table, the first column aligned left and the others right.

    Examples:
      >>> markdown_table(["class", "SDRi"], [["rain", "5.20"]])
      ['| class | SDRi |', '| --- | ---: |', '| rain | 5.20 |']
    """

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(header), "| --- |" + " ---: |" * (len(header) - 1), *map(line, rows)]


def console_table(result: EvaluationResult) -> Table:
    """Returns the table of `markdown` for a rich console."""
    table = Table(title=escape(result.title), caption="\n".join(_notes(result)), caption_justify="left")
    for index, name in enumerate(_HEADER):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
    rows = _class_rows(result)
    for index, row in enumerate(rows):
        last = index == len(rows) - 1
        table.add_row(*map(escape, row), style="bold" if last else None, end_section=index == len(rows) - 2)
    return table


def _class_rows(result: EvaluationResult) -> list[tuple[str, ...]]:
    means = [*result.classes, *([result.overall] if result.overall else [])]
    return [_row(one) for one in means]


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


def _notes(result: EvaluationResult) -> list[str]:
    notes = [f"Means in dB; {result.seconds:g} s mixtures, measured at {rates(result)}."]
    if result.absent_attenuation_db:
        absent = result.absent_attenuation_db
        notes.append(
            f"Queries that name neither sound: the estimate lies {absent.mean:.2f} dB ({_ends(absent)}) "
            f"below the mixture, mean of {len(result.absent)}."
        )
    return notes
