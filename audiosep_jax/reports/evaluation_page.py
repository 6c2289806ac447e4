"""The page of an evaluation: SDRi per class, its distribution, and single mixtures with players."""

from collections.abc import Mapping
from pathlib import Path

from audiosep_jax.evals.evaluate import ClassResult, EvaluationResult
from audiosep_jax.evals.figures import draw_classes, draw_distribution
from audiosep_jax.evals.picked_examples import Example
from audiosep_jax.evals.report import rates
from audiosep_jax.plotting.style import png
from audiosep_jax.reports import html_page as pages
from audiosep_jax.reports.players import listen

# Up to MOST_BARS classes are all drawn; of more, the BARS_OF_MORE best and worst.
MOST_BARS = 60
BARS_OF_MORE = 40
PLAYED_SECONDS = 20.0
_TITLES = {
    "best": "The mixture of the highest SDRi",
    "median": "The mixture of median SDRi",
    "worst": "The mixture of the lowest SDRi",
}
_HEADER = ("class", "mixtures", "SDRi", "from", "to", "SI-SDRi", "SDR", "SI-SDR")


def write_evaluation(
    result: EvaluationResult,
    folder: str | Path,
    *,
    spectrograms: Mapping[str, bytes] | None = None,
    examples: Mapping[str, Example] | None = None,
) -> list[Path]:
    """Writes `classes.png`, `distribution.png`, the spectrograms of the examples, and `report.html`.

    The page draws and plays the `examples` "best", "median" and "worst". Without them it shows
    `spectrograms`, their pictures as PNG. Returns the paths, the page first.

    Raises:
      ReportError: the page would be too large.
      StorageError: a file cannot be written.
    """
    pictures, parts = {}, []
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
    for place, example in (examples or {}).items():
        pictures[f"spectrograms-{place}.png"] = png(example.draw())
        parts += _example(place, example, pictures[f"spectrograms-{place}.png"])
    for place, content in ({} if examples else spectrograms or {}).items():
        parts += [
            pages.heading(_TITLES[place]),
            pages.picture(content, alt="Spectrograms of mixture, target, estimate and residual."),
        ]
    page = pages.whole(result.title, _introduction(result), *parts, *_table(result))
    path = pages.write_report(folder, page, pictures, advice="evaluate fewer classes at once")
    return [path, *(Path(folder) / name for name in pictures)]


def _example(place: str, example: Example, picture: bytes) -> list[pages.Html]:
    row = example.row
    samples = min(len(example.mixture), round(PLAYED_SECONDS * example.sample_rate_hz))
    sounds = {
        "mixture": example.mixture,
        "target: the true sound": example.target,
        f"estimate (SDRi {row.sdri_db:.2f} dB, SI-SDRi {row.si_sdri_db:.2f} dB)": example.estimate,
        "residual: mixture - estimate": example.mixture - example.estimate,
    }
    parts = [
        pages.heading(f"{_TITLES[place]}: “{row.query}”"),
        pages.picture(
            picture,
            alt=f"Spectrograms of mixture, target, estimate and residual for the query “{row.query}”.",
            caption=f"Target: {row.target_file}. The other sound: {row.interferer_file}.",
        ),
    ]
    if samples < len(example.mixture):
        parts.append(pages.paragraph(f"The players hold the first {PLAYED_SECONDS:g} s.", note=True))
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
    sentence = f"{len(result.examples)} mixtures of {result.seconds:g} s, measured at {rates(result)}."
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


def _table(result: EvaluationResult) -> list[pages.Html]:
    if result.overall is None:
        return []
    ranked = sorted(result.classes, key=lambda one: -one.sdri_db.mean)
    rows = [_row(one) for one in [result.overall, *ranked]]
    return [
        pages.heading("Numbers"),
        pages.table(_HEADER, rows, caption="Means in dB; from, to: 95 % bootstrap interval of SDRi."),
    ]


def _row(one: ClassResult) -> tuple[str, ...]:
    intervals = (one.si_sdri_db, one.sdr_db, one.si_sdr_db)
    sdri = one.sdri_db
    return (
        one.label.replace("_", " "),
        f"{one.count}",
        *(f"{value:.2f}" for value in (sdri.mean, sdri.low, sdri.high)),
        *(f"{interval.mean:.2f}" for interval in intervals),
    )
