"""Reads the result file and the pictures that `audiosep evaluate` wrote."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from audiosep_jax.errors import ReportError, shown
from audiosep_jax.evals.evaluate import AbsentResult, ClassResult, EvaluationResult, ExampleResult
from audiosep_jax.evals.evaluation_set import EvaluationSet
from audiosep_jax.evals.metrics import sdri_db
from audiosep_jax.evals.picked_examples import Example
from audiosep_jax.evals.statistics import Interval
from audiosep_jax.utils.serialization import from_dict

RESULT = "result.json"
PLACES = ("best", "median", "worst")
# Other batch sizes and machines round differently.
_REPRODUCED_DB = 0.1
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
    """Reads the result of `audiosep evaluate` from its output folder.

    Raises:
      ReportError: there is no result, it is damaged, or it holds no mixture.
    """
    path = Path(folder) / RESULT
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ReportError(
            f"{shown(folder)} holds no {RESULT}: give the folder that audiosep evaluate wrote (its --out)."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ReportError(f"{shown(path)} cannot be read ({shown(error)}): evaluate again.") from error
    result = _result(values, path)
    if not result.examples and not result.absent:
        raise ReportError(f"{shown(path)} holds no mixture: nothing can be drawn.")
    return result


def _result(values: Any, path: Path) -> EvaluationResult:
    names = {field.name for field in dataclasses.fields(EvaluationResult)}
    if not isinstance(values, dict) or not names <= set(values):
        raise ReportError(f"{shown(path)} is not a result of audiosep evaluate: give its output folder.")
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
        raise ReportError(f"{shown(path)}: {name} is no list: evaluate again.")
    return tuple(_read(kind, row, f"{path}: {name}[{index}]") for index, row in enumerate(rows))


def _read(kind: type[T], values: Any, where: str) -> T:
    try:
        return from_dict(kind, values, where=where, kind=ReportError)
    except TypeError as error:  # a field is missing
        raise ReportError(f"{shown(where)} is damaged ({shown(error)}): evaluate again.") from error


def read_spectrograms(folder: str | Path) -> dict[str, bytes]:
    """Returns the pictures of single mixtures that `audiosep evaluate` wrote; missing ones are left out.

    Raises:
      ReportError: one cannot be read, or is no PNG file.
    """
    found = {}
    for place in PLACES:
        path = Path(folder) / f"spectrograms-{place}.png"
        if not path.is_file():
            continue
        try:
            found[place] = path.read_bytes()
        except OSError as error:
            raise ReportError(f"{shown(path)} cannot be read: {error.strerror}.") from error
        if not found[place].startswith(b"\x89PNG\r\n\x1a\n"):
            raise ReportError(f"{shown(path)} is no PNG file: remove it, or evaluate again.")
    return found


def check_belongs(result: EvaluationResult, evaluation_set: EvaluationSet) -> None:
    """Raises a ReportError where a result was measured on another set."""
    entries = evaluation_set.entries
    same = result.set_name == evaluation_set.name and all(
        0 <= row.index < len(entries)
        and (row.query, row.target_file) == (entries[row.index].query, entries[row.index].target.file)
        for row in result.examples
    )
    if not same:
        raise ReportError(
            f"the result was measured on another set ({shown(result.set_name)}) than --evaluation-set "
            f"({shown(evaluation_set.name)}): give the set of the evaluation."
        )


def check_reproduced(examples: Mapping[str, Example]) -> None:
    """Raises a ReportError where an example misses its SDRi, because model or sounds differ."""
    for example in examples.values():
        found = float(sdri_db(example.target, example.estimate, example.mixture))
        if abs(found - example.row.sdri_db) > _REPRODUCED_DB:
            raise ReportError(
                f"mixture {example.row.index} of the set reaches an SDRi of {found:.2f} dB now and reached "
                f"{example.row.sdri_db:.2f} dB in the evaluation: give the evaluated model as --checkpoint, "
                "and the same sounds."
            )
