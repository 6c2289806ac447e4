"""The record of a training run: its metrics by step, its spikes and its skipped steps."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from audiosep_jax.errors import ReportError, shown

METRICS = "metrics.jsonl"
SPIKES = "spikes*.jsonl"


class Folder(Protocol):
    """The methods of a path that are used, which paths of buckets have, too."""

    def __truediv__(self, name: str, /) -> Any:
        """The path of a file in it."""

    def glob(self, pattern: str, /) -> Any:
        """The paths of files in it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """A field of the record, as recorded (finite or not), over the number of steps taken, which rises."""

    steps: Float[np.ndarray, " points"]
    values: Float[np.ndarray, " points"]

    def __len__(self) -> int:
        return len(self.steps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The record of a run so far.

    Attributes:
      name: of the run in pictures.
      lines: of metrics.jsonl, in the order of their steps.
      spikes: (number of steps taken, loss) of losses far above their recent mean.
      skipped: numbers of steps taken at which a step was skipped.
      cut_off: whether the last line of the file was incomplete and is left out.
    """

    name: str
    lines: tuple[dict[str, float], ...]
    spikes: tuple[tuple[int, float], ...] = ()
    skipped: tuple[int, ...] = ()
    cut_off: bool = False

    def curve(self, name: str) -> Curve:
        """Returns a field over all lines that have it."""
        points = [(line["step"], line[name]) for line in self.lines if name in line]
        steps, values = zip(*points, strict=True) if points else ((), ())
        return Curve(steps=np.array(steps, np.float64), values=np.array(values, np.float64))

    @property
    def last_step(self) -> int:
        """Steps taken at the last line."""
        return int(self.lines[-1]["step"])


def read_run(folder: Folder, *, name: str) -> RunRecord:
    """Reads the record in a work directory, of a run that is finished or not; pictures call the run `name`.

    Raises:
      ReportError: the record is missing, unreadable, damaged or empty.
    """
    path = folder / METRICS
    content = _content(path)
    if content is None:
        raise ReportError(f"{shown(folder)} holds no {METRICS}: give the --workdir of audiosep train.")
    lines, cut_off = _lines(content, path)
    if not lines:
        raise ReportError(f"{shown(path)} holds no numbers yet: wait until the training has logged a line.")
    for number, line in enumerate(lines, 1):
        if not all(isinstance(value, float) for value in line.values()):
            raise ReportError(
                f"{shown(path)}, line {number}: a value is no number; give the --workdir of audiosep train."
            )
    spikes, skipped = _spikes(folder)
    return RunRecord(
        name=name,
        lines=tuple(sorted(lines, key=lambda line: line["step"])),
        spikes=spikes,
        skipped=skipped,
        cut_off=cut_off,
    )


def names(folders: Sequence[str]) -> list[str]:
    """Returns the shortest ends of the paths that differ.

    Examples:
      >>> names(["runs/a/train", "runs/b/train"])
      ['a/train', 'b/train']

    Raises:
      ReportError: a run is given twice.
    """
    parts = [Path(folder).parts for folder in folders]
    if len(set(parts)) < len(parts):
        twice = next(folder for folder, own in zip(folders, parts, strict=True) if parts.count(own) > 1)
        raise ReportError(f"the run {shown(twice)} is given twice: name every run once.")
    for length in range(1, max(map(len, parts)) + 1):
        ends = ["/".join(own[-length:]) for own in parts]
        if len(set(ends)) == len(ends):
            return ends
    return list(folders)


def smoothing_window(records: int) -> int:
    """Returns the default number of neighbouring records to average: a twentieth of all, an odd number."""
    return 2 * (records // 40) + 1


def smoothed(values: Float[np.ndarray, " points"], window: int) -> Float[np.ndarray, " points"]:
    """Returns the mean of the finite values in a centred window of an odd number of points.

    The window is shorter at both ends. The mean is NaN where no value of the window is finite.
    """
    half = window // 2
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    index = np.arange(len(values))
    first, end = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    number = counts[end] - counts[first]
    total = sums[end] - sums[first]
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _content(path: Any) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", errors="replace") if path.exists() else None
    except Exception as error:  # the libraries of buckets have errors of their own
        raise ReportError(f"{shown(path)} cannot be read: {shown(error)}.") from error


def _lines(content: str, path: Any) -> tuple[list[dict[str, Any]], bool]:
    """Parses JSON lines; an incomplete last line is left out."""
    texts = content.split("\n")
    found: list[dict[str, Any]] = []
    for number, line in enumerate(texts, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line, parse_int=float)
            if not (isinstance(values, dict) and isinstance(values.get("step"), float)):
                raise ValueError('it is no JSON object with a number "step"')
            if not math.isfinite(values["step"]):
                raise ValueError('its "step" is not finite')
        except (ValueError, RecursionError) as error:
            if number == len(texts):  # no newline follows: the run is writing the line, or was killed
                return found, True
            raise ReportError(
                f"{shown(path)}, line {number} is damaged ({shown(error)}): remove the "
                "line, or give another run."
            ) from error
        found.append(values)
    return found, False


def _spikes(folder: Folder) -> tuple[tuple[tuple[int, float], ...], tuple[int, ...]]:
    try:
        paths = sorted(folder.glob(SPIKES), key=str)
    except Exception as error:  # as in _content
        raise ReportError(f"{shown(folder)} cannot be read: {shown(error)}.") from error
    spikes, skipped = {}, set()
    for path in paths:
        # Every process records the same step with its own examples.
        for line in _lines(_content(path) or "", path)[0]:
            step, loss = int(line["step"]) + 1, line.get("loss")  # an index there, a count in METRICS
            if line.get("skipped"):
                skipped.add(step)
            elif isinstance(loss, float):
                spikes[step] = loss
    return tuple(sorted(spikes.items())), tuple(sorted(skipped))
