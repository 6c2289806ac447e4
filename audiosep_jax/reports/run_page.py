"""The page of one or several training runs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audiosep_jax.errors import ReportError, listed
from audiosep_jax.plotting.style import line_styles, png
from audiosep_jax.reports import html_page as pages
from audiosep_jax.reports.curves import COURSE, VALIDATION, best_point, drawings, window_of
from audiosep_jax.reports.run_record import RunRecord, smoothed

MOST_ROWS = 1000
_HEADER = (
    "run",
    "steps",
    "records",
    "last loss (mean)",
    "lowest loss (mean)",
    "best SDRi (dB)",
    "at step",
    "last SDRi (dB)",
    "data wait",
    "spikes",
    "skipped",
)


def write_runs(runs: Sequence[RunRecord], folder: str | Path, *, smooth: int | None = None) -> list[Path]:
    """Writes `loss.png`, `validation.png`, `course.png` (those with something to show) and `report.html`.

    The line of the loss averages `smooth` records; None is a twentieth of the run's records. Returns the
    paths, the page first.

    Raises:
      ReportError: the runs have recorded nothing to draw, there are too many runs for one picture, or the
        page would be too large.
      StorageError: a file cannot be written.
    """
    line_styles(len(runs))
    pictures = {name: png(draw()) for name, draw in drawings(runs, smooth=smooth).items()}
    if not pictures:
        raise ReportError(f"{runs[0].name} has recorded neither loss nor validation: nothing can be drawn.")
    known = listed(run.name for run in runs)
    page = pages.whole(
        f"Training: {known}" if len(runs) < 4 else f"{len(runs)} training runs",
        *_notes(runs),
        *(
            part
            for name, content in pictures.items()
            for part in (
                pages.heading(_TITLES[name]),
                pages.picture(
                    content, alt=f"{_ALTS[name]} Runs: {known}.", caption=_captions(runs, smooth)[name]
                ),
            )
        ),
        pages.heading("Numbers"),
        pages.table(
            _HEADER,
            [_summary(run, smooth) for run in runs],
            caption="Loss: of the smoothed line. data wait: mean share of the time spent waiting for data.",
        ),
        *(part for run in runs for part in _records(run)),
    )
    path = pages.write_report(folder, page, pictures, advice="show fewer runs at once")
    return [path, *(Path(folder) / name for name in pictures)]


_TITLES = {"loss.png": "Loss", "validation.png": "Validation", "course.png": "Course of the training"}
_ALTS = {
    "loss.png": "Training loss over steps: recorded points and their moving mean.",
    "validation.png": "SDRi and SI-SDRi of the validation mixtures over steps, in dB.",
    "course.png": "Learning rate, gradient norm, data wait and examples per second over steps.",
}


def _captions(runs: Sequence[RunRecord], smooth: int | None) -> dict[str, str]:
    windows = sorted({window_of(run, smooth) for run in runs})
    span = f"{windows[0]}" if len(windows) == 1 else f"{windows[0]} to {windows[-1]}"
    loss = (
        "Dots: every recorded value, each the mean over the steps since the record before. "
        f"Lines: mean of {span} neighbouring records{' (no smoothing)' if windows[-1] == 1 else ''}."
    )
    if any(run.spikes for run in runs):
        loss += (
            " Triangles: single steps whose loss was recorded as a spike; those far above all records are "
            "drawn at the upper edge."
        )
    if any(run.skipped for run in runs):
        loss += " Crosses at the lower edge: skipped steps."
    return {
        "loss.png": loss,
        "validation.png": "Every validation, not smoothed. Rings: the best SDRi of each run.",
        "course.png": (
            "Dots: every recorded value. Lines: smoothed as above, the learning rate as it is. The gradient "
            "norm has a logarithmic axis."
        ),
    }


def _notes(runs: Sequence[RunRecord]) -> list[pages.Html]:
    notes = []
    for run in runs:
        if run.cut_off:
            notes.append(
                pages.paragraph(
                    f"{run.name}: the last line of its record is incomplete, because the run is writing it "
                    "or was killed; it is left out."
                )
            )
        broken = sum(not np.isfinite(value) for line in run.lines for value in line.values())
        if broken:
            notes.append(
                pages.paragraph(
                    f"{run.name}: {broken} value{'' if broken == 1 else 's'} of its record not finite; "
                    "gaps in the curves."
                )
            )
    return notes


def _summary(run: RunRecord, smooth: int | None) -> tuple[str, ...]:
    loss, sdri, wait = run.curve("loss"), run.curve("validation/sdri_db"), run.curve("data_wait_share")
    line = smoothed(loss.values, window_of(run, smooth))
    line = line[np.isfinite(line)]
    best = best_point(sdri)
    return (
        run.name,
        f"{run.last_step}",
        f"{len(run.lines)}",
        f"{line[-1]:.4g}" if len(line) else "–",
        f"{line.min():.4g}" if len(line) else "–",
        f"{best[1]:.2f}" if best else "–",
        f"{best[0]:.0f}" if best else "–",
        f"{sdri.values[-1]:.2f}" if len(sdri) else "–",
        f"{100 * wait.values.mean():.1f} %" if len(wait) else "–",
        f"{len(run.spikes)}",
        f"{len(run.skipped)}",
    )


def _records(run: RunRecord) -> list[pages.Html]:
    """The tables of a run, folded: validations, training records, spikes and skips."""
    trained = ("loss", *(name for name, *_ in COURSE))
    validated = [line for line in run.lines if any(name in line for name in VALIDATION)]
    training = [line for line in run.lines if any(name in line for name in trained)]
    remarkable = [(f"{step}", "spike", f"{loss:.4g}") for step, loss in run.spikes]
    remarkable += [(f"{step}", "skipped", "–") for step in run.skipped]
    parts = []
    for title, names, lines in (
        ("validations", tuple(VALIDATION), validated),
        ("training records", trained, training),
    ):
        if lines:
            rows = [(f"{line['step']:.0f}", *(_number(line.get(name)) for name in names)) for line in lines]
            parts.append(_folded(run, title, ("step", *names), rows))
    if remarkable:
        remarkable.sort(key=lambda row: int(row[0]))
        parts.append(_folded(run, "spikes and skipped steps", ("step", "what", "loss"), remarkable))
    return parts


def _folded(
    run: RunRecord, title: str, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]
) -> pages.Html:
    every = -(-len(rows) // MOST_ROWS)
    # Counted from the end, so that the newest row is kept.
    kept = rows[::-1][::every][::-1]
    caption = f"Every {every}th of {len(rows)}." if every > 1 else ""
    return pages.folded(f"{run.name}: {len(rows)} {title}", pages.table(header, kept, caption=caption))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
