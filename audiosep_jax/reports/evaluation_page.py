"""The page of an evaluation: SDRi per kind and class, bounds, gains, and single mixtures with players."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from audiosep_jax.evals import report
from audiosep_jax.evals.evaluate import ClassResult, EvaluationResult
from audiosep_jax.evals.figures import draw_classes, draw_distribution, draw_kinds
from audiosep_jax.evals.picked_examples import PLACES, Example
from audiosep_jax.plotting.style import png
from audiosep_jax.reports import html_page as pages
from audiosep_jax.reports.players import largest_bytes, listen
from audiosep_jax.reports.result_file import Evaluation

# Up to MOST_BARS classes are all drawn; of more, the BARS_OF_MORE best and worst.
MOST_BARS = 60
BARS_OF_MORE = 40
PLAYED_SECONDS = 20.0
# Of more than FEW_EXAMPLES, pictures are coarser and residuals are not played: a page has at most 40 MB.
FEW_EXAMPLES = len(PLACES)
COARSE_DPI = 60
SOUNDS_BYTES = 26_000_000
_TITLES = {
    "best": "The mixture of the highest SDRi",
    "median": "The mixture of median SDRi",
    "worst": "The mixture of the lowest SDRi",
}
_HEADER = ("mixtures", "SDRi", "from", "to", "SI-SDRi", "SDR", "SI-SDR")


def write_evaluation(
    evaluations: Sequence[Evaluation],
    folder: str | Path,
    *,
    spectrograms: Mapping[str, bytes] | None = None,
    examples: Mapping[str, Example] | None = None,
) -> list[Path]:
    """Writes figures, the spectrograms of the examples, and `report.html`.

    The figures are `classes.png`, `distribution.png` and, for a set with kinds, `kinds.png`. They show the
    first evaluation; the others have their tables. The page draws and plays the `examples`, named "best",
    "median" and "worst", or "best-KIND" and so on. Without them it shows `spectrograms`, their pictures as
    PNG. Returns the paths, the page first.

    Raises:
      ReportError: the page would be too large.
      StorageError: a file cannot be written.
    """
    first, *others = evaluations
    result = first.result
    pictures, parts = {}, []
    if others:
        parts += _summary(evaluations)
    if result.kinds:
        pictures["kinds.png"] = png(draw_kinds(result))
        parts += [
            pages.heading("SDRi per kind of sound"),
            pages.picture(
                pictures["kinds.png"],
                alt=f"Bars: mean SDRi in dB of {len(result.kinds)} kinds, with 95 % intervals.",
            ),
        ]
    parts += _short_tables(first)
    if result.overall is not None:
        pictures["classes.png"] = png(draw_classes(result, most=_bars(result)))
        parts += [
            pages.heading("SDRi per class"),
            pages.picture(
                pictures["classes.png"],
                alt=f"Bars: mean SDRi in dB of {_drawn(result)}, with 95 % intervals.",
                caption=f"Drawn: {_drawn(result)}. The table below has all.",
            ),
        ]
    pictures["distribution.png"] = png(draw_distribution(result))
    parts += [
        pages.heading("Distribution over mixtures"),
        pages.picture(pictures["distribution.png"], alt=_distribution_alt(result)),
    ]
    if examples:
        few = len(examples) <= FEW_EXAMPLES
        seconds = _played_seconds(examples, sounds=(4 if few else 3) * len(examples))
        for place, example in examples.items():
            name = "spectrograms-" + re.sub(r"[^\w-]", "_", place) + ".png"
            pictures[name] = png(example.draw(), dpi=None if few else COARSE_DPI)
            parts += _example(place, example, pictures[name], seconds=seconds, residual=few)
    for place, content in ({} if examples else spectrograms or {}).items():
        parts += [
            pages.heading(_title(place)),
            pages.picture(content, alt="Spectrograms of mixture, target, estimate and residual."),
        ]
    parts += _class_table(first)
    for other in others:
        parts += [pages.heading(other.result.title), _introduction(other.result)]
        parts += [*_short_tables(other), pages.folded("All classes", *_class_table(other))]
    page = pages.whole(result.title, _introduction(result), *parts)
    path = pages.write_report(folder, page, pictures, advice="evaluate fewer classes at once")
    return [path, *(Path(folder) / name for name in pictures)]


def _title(place: str) -> str:
    name, _, kind = place.partition("-")
    return _TITLES[name] + (f" of kind {kind}" if kind else "")


def _played_seconds(examples: Mapping[str, Example], *, sounds: int) -> float:
    """Returns how many seconds of each sound fit into the page."""
    rate = max(one.sample_rate_hz for one in examples.values())
    return min(PLAYED_SECONDS, SOUNDS_BYTES / largest_bytes(rate, channels=1, sounds=sounds))


def _example(
    place: str, example: Example, picture: bytes, *, seconds: float, residual: bool
) -> list[pages.Html]:
    row = example.row
    samples = min(len(example.mixture), int(seconds * example.sample_rate_hz))
    sounds = {
        "mixture": example.mixture,
        "target: the true sound": example.target,
        f"estimate (SDRi {row.sdri_db:.2f} dB, SI-SDRi {row.si_sdri_db:.2f} dB)": example.estimate,
    }
    if residual:
        sounds["residual: mixture - estimate"] = example.mixture - example.estimate
    parts = [
        pages.heading(f"{_title(place)}: “{row.query}”"),
        pages.picture(
            picture,
            alt=f"Spectrograms of mixture, target, estimate and residual for the query “{row.query}”.",
            caption=f"Target: {row.target_file}. The other sound: {row.interferer_file}.",
        ),
    ]
    if samples < len(example.mixture):
        parts.append(pages.paragraph(f"The players hold the first {seconds:.3g} s.", note=True))
    played = {label: sound[None, :samples] for label, sound in sounds.items()}
    return [*parts, *listen([("", played)], sample_rate_hz=example.sample_rate_hz)]


def _bars(result: EvaluationResult) -> int:
    count = len(result.classes)
    return count if count <= MOST_BARS else BARS_OF_MORE


def _drawn(result: EvaluationResult) -> str:
    count, bars = len(result.classes), _bars(result)
    if bars == count:
        return f"{count} classes"
    return f"the {bars - bars // 2} best and the {bars // 2} worst of {count} classes"


def _introduction(result: EvaluationResult) -> pages.Html:
    sentence = f"{len(result.examples)} mixtures of {result.seconds:g} s, measured at {report.rates(result)}."
    if result.overall is not None:
        sdri = result.overall.sdri_db
        sentence += f" Mean SDRi {sdri.mean:.2f} dB (95 % interval {sdri.low:.2f} to {sdri.high:.2f})."
    if (absent := result.absent_attenuation_db) is not None:
        sentence += (
            f" For {len(result.absent)} queries that name neither sound, the estimate lies "
            f"{absent.mean:.2f} dB ({absent.low:.2f} to {absent.high:.2f}) below the mixture."
        )
    return pages.paragraph(sentence)


def _distribution_alt(result: EvaluationResult) -> str:
    parts = []
    if result.examples:
        parts.append(f"SDRi of {len(result.examples)} mixtures in dB")
    if result.absent:
        parts.append(f"attenuation of {len(result.absent)} absent sounds in dB")
    return f"Histogram: {'; '.join(parts)}, with mean and median."


def _summary(evaluations: Sequence[Evaluation]) -> list[pages.Html]:
    """Returns the table that compares the evaluations, each beside its own bounds."""
    bounds = max((one.bounds for one in evaluations), key=len)
    # The cutoff of the low-pass filter differs between sets.
    names = tuple("low-pass" if bound.model.startswith("low-pass") else bound.model for bound in bounds)
    rows = []
    for one in evaluations:
        overall, absent = one.result.overall, one.result.absent_attenuation_db
        means = [bound.overall for bound in one.bounds]
        rows.append(
            (
                one.result.title,
                *(_row(overall)[1:5] if overall else ("0", *"–––")),
                f"{absent.mean:.2f}" if absent else "–",
                *(f"{mean.sdri_db.mean:.2f}" if mean else "–" for mean in means),
                *("–" for _ in range(len(names) - len(means))),
            )
        )
    header = ("evaluation", *_HEADER[:4], "absent: below the mixture", *names)
    return [pages.heading("Evaluations"), pages.table(header, rows, caption=_caption(bounds))]


def _short_tables(evaluation: Evaluation) -> list[pages.Html]:
    """Returns the tables of kinds, gains and bounds, those that there are."""
    result, parts = evaluation.result, []
    if result.kinds:
        parts.append(_group_table(evaluation, "kinds"))
    if evaluation.gains:
        rows = report.gain_rows([result, *evaluation.gains])
        caption = "The mixture at other gains before the separator; estimates are scaled back. Means in dB."
        parts.append(pages.table(report.GAINS_HEADER, rows, caption=caption))
    if rows := report.bound_rows(evaluation.bounds):
        parts.append(
            pages.table(report.BOUNDS_HEADER, rows, caption="Floors and ceilings, all mixtures. Means in dB.")
        )
    return parts


def _class_table(evaluation: Evaluation) -> list[pages.Html]:
    if evaluation.result.overall is None:
        return []
    return [pages.heading("Numbers"), _group_table(evaluation, "classes")]


def _group_table(evaluation: Evaluation, group: report.Group) -> pages.Html:
    """Returns the table of kinds or classes, the best first, with the SDRi of each bound."""
    result, bounds = evaluation.result, evaluation.bounds
    header = (report.GROUPS[group], *_HEADER, *(bound.model for bound in bounds))
    of_bounds = [{one.label: one.sdri_db.mean for one in report.means(bound, group)} for bound in bounds]
    ranked = sorted(
        report.means(result, group), key=lambda one: (one is not result.overall, -one.sdri_db.mean)
    )
    rows = [
        (*_row(one), *(f"{values[one.label]:.2f}" if one.label in values else "–" for values in of_bounds))
        for one in ranked
    ]
    return pages.table(header, rows, caption=_caption(bounds))


def _caption(bounds: Sequence[EvaluationResult]) -> str:
    note = f" {report.bounds_note(bounds)}" if bounds else ""
    return f"Means in dB; from, to: 95 % bootstrap interval of SDRi.{note}"


def _row(one: ClassResult) -> tuple[str, ...]:
    intervals = (one.si_sdri_db, one.sdr_db, one.si_sdr_db)
    sdri = one.sdri_db
    return (
        one.label.replace("_", " "),
        f"{one.count}",
        *(f"{value:.2f}" for value in (sdri.mean, sdri.low, sdri.high)),
        *(f"{interval.mean:.2f}" for interval in intervals),
    )
