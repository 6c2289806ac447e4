"""The page of an evaluation: SDRi per class and its distribution, from the result's file."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from audiosep_jax.errors import AudioSepError, shown
from audiosep_jax.evals.bootstrap import Interval
from audiosep_jax.evals.evaluate import AbsentResult, ClassResult, EvaluationResult, ExampleResult
from audiosep_jax.evals.figures import draw_classes, draw_distribution
from audiosep_jax.seeing import page as pages
from audiosep_jax.seeing.pictures import png
from audiosep_jax.serialization import from_dict

RESULT = "result.json"
# As many classes are drawn; of more, so many: the best and the worst.
MOST_BARS = 60
BARS_OF_MORE = 40
_PLACES = {"best": "the highest", "median": "median", "worst": "the lowest"}
_HEADER = ("class", "mixtures", "SDRi", "from", "to", "SI-SDRi", "SDR", "SI-SDR")
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Head:
    """The fields of a result that are single values."""

    set_name: str
    model: str
    sample_rate_hz: int
    model_sample_rate_hz: int
    seconds: float


def read_result(folder: str | Path) -> EvaluationResult:
    """Reads what `audiosep evaluate` wrote.

    Args:
      folder: its output folder.

    Raises:
      AudioSepError: there is no result, it is damaged, or it holds no mixture.
    """
    path = Path(folder) / RESULT
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise AudioSepError(
            f"{shown(folder)} holds no {RESULT}: give the folder that audiosep evaluate wrote (its --out)."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise AudioSepError(f"{shown(path)} cannot be read ({shown(error)}): evaluate again.") from error
    result = _result(values, path)
    if not result.examples and not result.absent:
        raise AudioSepError(f"{shown(path)} holds no mixture: nothing can be drawn.")
    return result


def _result(values: Any, path: Path) -> EvaluationResult:
    names = {field.name for field in dataclasses.fields(EvaluationResult)}
    if not isinstance(values, dict) or not names <= set(values):
        raise AudioSepError(f"{shown(path)} is not a result of audiosep evaluate: give its output folder.")
    head = {field.name: values[field.name] for field in dataclasses.fields(_Head)}
    overall, attenuation = values["overall"], values["absent_attenuation_db"]
    return EvaluationResult(
        **vars(_read(_Head, head, str(path))),
        examples=_rows(ExampleResult, values, "examples", path),
        absent=_rows(AbsentResult, values, "absent", path),
        classes=_rows(ClassResult, values, "classes", path),
        overall=None if overall is None else _read(ClassResult, overall, f"{path}: overall"),
        absent_attenuation_db=(
            None if attenuation is None else _read(Interval, attenuation, f"{path}: absent_attenuation_db")
        ),
    )


def _rows(kind: type[T], values: dict[str, Any], name: str, path: Path) -> tuple[T, ...]:
    rows = values[name]
    if not isinstance(rows, list):
        raise AudioSepError(f"{shown(path)}: {name} is no list: evaluate again.")
    return tuple(_read(kind, row, f"{path}: {name}[{index}]") for index, row in enumerate(rows))


def _read(kind: type[T], values: Any, where: str) -> T:
    try:
        return from_dict(kind, values, where=where)
    except TypeError as error:  # a field is missing
        raise AudioSepError(f"{shown(where)} is damaged ({shown(error)}): evaluate again.") from error


def write_evaluation(
    result: EvaluationResult, folder: str | Path, *, spectrograms: Mapping[str, bytes] | None = None
) -> list[Path]:
    """Writes `classes.png`, `distribution.png` and `report.html`.

    Args:
      result: of an evaluation.
      folder: where to; it is made.
      spectrograms: pictures of single mixtures, `{"best", "median" or "worst": PNG}`, to show in the page.

    Returns:
      The paths, the page first.

    Raises:
      AudioSepError: the page would be too large, or a file cannot be written.
    """
    name = f"{result.model or 'model'} on {result.set_name}"
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
    for place, content in (spectrograms or {}).items():
        parts += [
            pages.heading(f"The mixture of {_PLACES[place]} SDRi"),
            pages.picture(content, alt=f"Spectrograms of mixture, target, estimate and residual: {place}."),
        ]
    page = pages.whole(name, _introduction(result), *parts, *_table(result))
    path = pages.write_report(folder, page, pictures, advice="evaluate fewer mixtures")
    return [path, *(Path(folder) / name for name in pictures)]


def read_spectrograms(folder: str | Path) -> dict[str, bytes]:
    """Returns the pictures of single mixtures that `audiosep evaluate` wrote, as far as they are there.

    Raises:
      AudioSepError: one cannot be read, or is no PNG file.
    """
    found = {}
    for place in _PLACES:
        path = Path(folder) / f"spectrograms-{place}.png"
        if not path.is_file():
            continue
        try:
            found[place] = path.read_bytes()
        except OSError as error:
            raise AudioSepError(f"{shown(path)} cannot be read: {error.strerror}.") from error
        if not found[place].startswith(b"\x89PNG\r\n\x1a\n"):
            raise AudioSepError(f"{shown(path)} is no PNG file: remove it, or evaluate again.")
    return found


def _bars(result: EvaluationResult) -> int:
    count = len(result.classes)
    return count if count <= MOST_BARS else BARS_OF_MORE


def _drawn(result: EvaluationResult) -> str:
    count, bars = len(result.classes), _bars(result)
    if bars == count:
        return f"{count} classes"
    return f"the {bars - bars // 2} best and the {bars // 2} worst of {count} classes"


def _introduction(result: EvaluationResult) -> pages.Html:
    rate = f"{result.sample_rate_hz / 1000:g} kHz"
    if result.model_sample_rate_hz != result.sample_rate_hz:
        rate += f" (the model works at {result.model_sample_rate_hz / 1000:g} kHz)"
    sentence = f"{len(result.examples)} mixtures of {result.seconds:g} s, measured at {rate}."
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
