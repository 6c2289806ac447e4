"""The result of a sweep as Markdown, as JSON and on the console, with its significant differences."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from audiosep_jax.evals.report import markdown_table
from audiosep_jax.evals.statistics import CrossedMean
from audiosep_jax.sweeps.results import ALPHA, CellResult, Difference, SweepResult
from audiosep_jax.utils.atomic import replacing, write_json

_HEADER = (
    "cell",
    "seeds",
    "SDRi",
    "95 % interval",
    "SI-SDRi",
    "absent",
    "difference",
    "95 % interval",
    "corrected p",
    "minutes",
)


def write_report(result: SweepResult, folder: Path, *, figures: Sequence[str] = ()) -> None:
    """Writes `report.md`, which shows the image files `figures` of the folder, and `report.json`.

    Raises:
      StorageError: the folder cannot be written.
    """
    write_json(folder / "report.json", _plain(dataclasses.asdict(result)))
    with replacing(folder / "report.md") as temporary:
        temporary.write_text(markdown(result, figures=figures), "utf-8")


def markdown(result: SweepResult, *, figures: Sequence[str] = ()) -> str:
    """Returns the table, the significant differences, and how both were computed."""
    lines = [f"## {_title(result)}", "", *markdown_table(_HEADER, map(_row, result.cells))]
    lines += ["", *(f"- {sentence}" for sentence in sentences(result)), "", " ".join(_notes(result))]
    changes = [f"- {cell.cell}: {_changes(cell)}" for cell in result.cells]
    lines += ["", "What the cells change:", "", *changes]
    for name in figures:
        lines += ["", f"![{Path(name).stem}]({name})"]
    return "\n".join(lines) + "\n"


def console_table(result: SweepResult) -> Table:
    """Returns the table of `markdown` for a rich console; its caption is the sentences and the notes."""
    caption = "\n".join([*sentences(result), "", *_notes(result)])
    table = Table(title=escape(_title(result)), caption=escape(caption), caption_justify="left")
    for index, name in enumerate(_HEADER):
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for cell in result.cells:
        table.add_row(*map(escape, _row(cell)))
    return table


def sentences(result: SweepResult) -> list[str]:
    """Returns a sentence per difference, and one about the runs that are not finished."""
    said = [
        _sentence(cell.cell, result.compared_with, cell.difference)
        for cell in result.cells
        if cell.difference is not None
    ]
    if not said:
        said = [
            f"Nothing can be compared: {result.compared_with} and the others have no finished seed in common."
        ]
    missing = [f"{cell.cell} ({', '.join(map(str, cell.missing))})" for cell in result.cells if cell.missing]
    missing += [f"{cell} (all)" for cell in result.unfinished]
    if missing:
        said.append(f"Not finished, by seed: {', '.join(missing)}.")
    return said


def _sentence(cell: str, base: str, difference: Difference) -> str:
    one, seeds = difference.sdri_db, len(difference.seeds)
    mean = f"{one.mean:+.{_decimals(one)}f}"
    if math.isnan(one.seed_error) and math.isnan(one.mixture_error):
        return (
            f"{cell} and {base} differ by {mean} dB; the certainty is unknown with one seed and one "
            "recording."
        )
    if math.isnan(one.p_value):
        return (
            f"{cell} and {base} differ by {mean} dB in every seed and recording; the certainty is unknown, "
            "as nothing varies."
        )
    where = f"95 % interval {_ends(one)} dB, corrected p {_p(difference.corrected_p)}"
    if seeds == 1:
        where += "; with one seed this holds for these two models, not for other trainings"
    if difference.significant:
        direction = "better" if one.mean > 0 else "worse"
        return f"{cell} is {mean[1:]} dB {direction} than {base}: significant ({where})."
    return f"{cell} is not significantly different from {base}: {mean} dB ({where})."


def _notes(result: SweepResult) -> list[str]:
    return [
        f"SDRi and SI-SDRi are means in dB over seeds and the {result.mixtures} mixtures of "
        f"{result.evaluation_set} whose query names their target ({result.recordings} recordings). absent: "
        "how many dB the estimate lies below the mixture where the query names none of its sounds.",
        "Intervals hold for other seeds and other recordings: the squared error of a mean is that of its "
        "seeds plus that of its recordings, with Student's t as Cochran and Cox weight it.",
        f"Differences are to {result.compared_with}, paired by seed and mixture; their intervals are for "
        "each alone, their p-values are corrected for all comparisons (Holm), and below "
        f"{ALPHA:g} is significant.",
        "minutes: of training one run, with starting, compiling and validation.",
    ]


def _title(result: SweepResult) -> str:
    return f"sweep {result.name} on {result.evaluation_set}"


def _row(cell: CellResult) -> tuple[str, ...]:
    difference = cell.difference
    return (
        cell.cell,
        str(len(cell.seeds)),
        f"{cell.sdri_db.mean:.{_decimals(cell.sdri_db)}f}",
        _ends(cell.sdri_db),
        f"{cell.si_sdri_db:.2f}",
        "" if cell.attenuation_db is None else f"{cell.attenuation_db:.2f}",
        ""
        if difference is None
        else f"{difference.sdri_db.mean:+.{_decimals(difference.sdri_db)}f}"
        f"{'*' if difference.significant else ''}",
        "" if difference is None else _ends(difference.sdri_db),
        "" if difference is None else _p(difference.corrected_p),
        f"{cell.train_minutes:.1f}",
    )


def _changes(cell: CellResult) -> str:
    changes = [f"`{name}` = {json.dumps(value)}" for name, value in cell.changes.items()]
    return ", ".join(changes) or "nothing"


def _ends(one: CrossedMean) -> str:
    digits = _decimals(one)
    return "unknown" if math.isnan(one.low) else f"{one.low:.{digits}f} … {one.high:.{digits}f}"


def _decimals(one: CrossedMean) -> int:
    """Two, or as many as show the interval's ends apart from the mean and from zero; at most nine."""
    known = [one.mean] if math.isnan(one.low) else [one.low, one.high, one.mean - one.low]
    return next((digits for digits in range(2, 9) if all(_is_shown(value, digits) for value in known)), 9)


def _is_shown(value: float, digits: int) -> bool:
    return value == 0 or abs(value) >= 0.5 * 10**-digits


def _p(value: float) -> str:
    if math.isnan(value):
        return "unknown"
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}" if value < 0.1 else f"{value:.2f}"


def _plain(value: Any) -> Any:
    """Returns the values with null for NaN and infinity, which JSON lacks."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
