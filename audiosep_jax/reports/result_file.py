"""Reads the result file and the pictures that `audiosep evaluate` wrote."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from audiosep_jax.errors import ReportError, shown
from audiosep_jax.evals.bounds import NUMBER_OF_BOUNDS
from audiosep_jax.evals.evaluate import AbsentResult, ClassResult, EvaluationResult, ExampleResult
from audiosep_jax.evals.evaluation_set import EvaluationSet
from audiosep_jax.evals.metrics import sdri_db
from audiosep_jax.evals.picked_examples import PLACES, Example
from audiosep_jax.evals.statistics import Interval
from audiosep_jax.utils.serialization import from_dict

RESULT, BOUNDS, GAINS = "result.json", "bounds.json", "gains.json"
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
    gain_db: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `audiosep evaluate` wrote into a folder.

    Attributes:
      result: the main one.
      bounds: results of floors and ceilings on the same mixtures; may be empty.
      gains: results at other gains; may be empty.
    """

    result: EvaluationResult
    bounds: tuple[EvaluationResult, ...] = ()
    gains: tuple[EvaluationResult, ...] = ()


def read_evaluation(folder: str | Path) -> Evaluation:
    """Reads the result of `audiosep evaluate` from its output folder, with bounds and gains if there are any.

    Raises:
      ReportError: there is no result, a file is damaged or of another set, or the result holds no mixture.
    """
    result = read_result(folder)
    further = {name: _read_list(Path(folder) / name) for name in (BOUNDS, GAINS)}
    for name, results in further.items():
        if any(one.set_name != result.set_name for one in results):
            raise ReportError(
                f"{shown(Path(folder) / name)} is of another evaluation set than {RESULT} beside it: "
                "remove it, or evaluate again."
            )
    if (count := len(further[BOUNDS])) not in (0, NUMBER_OF_BOUNDS):
        raise ReportError(
            f"{shown(Path(folder) / BOUNDS)} holds {count} results, not {NUMBER_OF_BOUNDS}: evaluate again."
        )
    return Evaluation(result=result, bounds=further[BOUNDS], gains=further[GAINS])


def read_result(folder: str | Path) -> EvaluationResult:
    """Reads the result of `audiosep evaluate` from its output folder.

    Raises:
      ReportError: there is no result, it is damaged, or it holds no mixture.
    """
    path = Path(folder) / RESULT
    values = _load(path)
    if values is None:
        raise ReportError(
            f"{shown(folder)} holds no {RESULT}: give the folder that audiosep evaluate wrote (its --out)."
        )
    result = _result(values, path)
    if not result.examples and not result.absent:
        raise ReportError(f"{shown(path)} holds no mixture: nothing can be drawn.")
    return result


def _read_list(path: Path) -> tuple[EvaluationResult, ...]:
    values = _load(path)
    if values is None:
        return ()
    if not isinstance(values, list):
        raise ReportError(f"{shown(path)} is no list of results: evaluate again.")
    return tuple(_result(one, path) for one in values)


def _load(path: Path) -> Any:
    """Returns the content of a JSON file, None if there is no file."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ReportError(f"{shown(path)} cannot be read ({shown(error)}): evaluate again.") from error


def _result(values: Any, path: Path) -> EvaluationResult:
    names = {
        field.name
        for field in dataclasses.fields(EvaluationResult)
        if field.default is dataclasses.MISSING  # results of earlier releases lack the others
    }
    if not isinstance(values, dict) or not names <= set(values):
        raise ReportError(f"{shown(path)} is not a result of audiosep evaluate: give its output folder.")
    head = {field.name: values[field.name] for field in dataclasses.fields(_Head) if field.name in values}
    overall, attenuation = values["overall"], values["absent_attenuation_db"]
    return EvaluationResult(
        **vars(_read(_Head, head, str(path))),
        examples=_rows(ExampleResult, values, "examples", path),
        absent=_rows(AbsentResult, values, "absent", path),
        classes=_rows(ClassResult, values, "classes", path),
        kinds=_rows(ClassResult, {"kinds": [], **values}, "kinds", path),
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
