"""Evaluates a separator on a fixed set: a row per mixture, and means per class with intervals."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from audiosep_jax.audio.levels import at_working_level
from audiosep_jax.audio.resample import resample
from audiosep_jax.evals.evaluation_set import Entry, EvaluationSet, check_files, render_entries
from audiosep_jax.evals.measure import METRICS, Apply, Measurements, Progress, measure_batch, merge
from audiosep_jax.evals.source_recordings import recording_of
from audiosep_jax.evals.statistics import Interval, bootstrap_interval

Encode = Callable[[Sequence[str]], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleResult:
    """A mixture whose query names its target; all metrics in dB.

    Attributes:
      index: position of the mixture in the evaluation set.
      kind: the target's kind of sound, or "".
    """

    index: int
    target_file: str
    target_label: str
    interferer_file: str
    interferer_label: str
    query: str
    sdr_db: float
    sdri_db: float
    si_sdr_db: float
    si_sdri_db: float
    kind: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AbsentResult:
    """A mixture whose query names none of its sounds.

    Attributes:
      index: position of the mixture in the evaluation set.
      attenuation_db: how far the estimate's energy lies below the mixture's.
    """

    index: int
    labels: tuple[str, str]
    query: str
    attenuation_db: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassResult:
    """Means over the mixtures of one target class, or of one kind of target."""

    label: str
    count: int
    sdri_db: Interval
    sdr_db: Interval
    si_sdr_db: Interval
    si_sdri_db: Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """The result of a model on a set. Intervals are 95 % bootstrap intervals of the mean.

    Attributes:
      set_name: of the evaluation set.
      model: name of the evaluated model.
      sample_rate_hz: rate at which estimates were measured.
      model_sample_rate_hz: rate at which the model worked.
      seconds: length of each mixture.
      examples: one row per mixture whose query names its target.
      absent: one row per mixture whose query names none of its sounds.
      overall: means over `examples`, labelled "all"; None where there are none.
      classes: the same per target class, in the order of labels.
      absent_attenuation_db: mean over `absent`; None where there are none.
      kinds: the same per kind of target, in the order of kinds; empty where the set has none.
      gain_db: of every mixture before the separator; estimates are scaled back before they are measured.
    """

    set_name: str
    model: str
    sample_rate_hz: int
    model_sample_rate_hz: int
    seconds: float
    examples: tuple[ExampleResult, ...]
    absent: tuple[AbsentResult, ...]
    overall: ClassResult | None
    classes: tuple[ClassResult, ...]
    absent_attenuation_db: Interval | None
    kinds: tuple[ClassResult, ...] = ()
    gain_db: float = 0.0

    @property
    def title(self) -> str:
        """The names of model and set, and the gain, for headings."""
        gain = f" at {self.gain_db:+g} dB" if self.gain_db else ""
        return f"{self.model or 'model'} on {self.set_name}{gain}"


def evaluate(
    evaluation_set: EvaluationSet,
    *,
    root: str | Path,
    apply: Apply,
    encode: Encode,
    model_sample_rate_hz: int,
    working_level_db: float | None = None,
    gain_db: float = 0.0,
    model: str = "",
    batch_size: int = 8,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Renders, separates and measures every mixture of a set.

    Where the model's rate differs from the set's, the mixture is resampled for the model, and its estimate
    is resampled back and measured at the set's rate. One batch of audio is held in memory at a time.

    Args:
      evaluation_set: the mixtures.
      root: folder of their files.
      apply: `(mixture [batch, samples], condition [batch, size]) -> estimate [batch, samples]`.
      encode: `queries -> condition [queries, size]`.
      model_sample_rate_hz: rate of `apply`.
      working_level_db: level in dBFS that every mixture is brought to before `apply`, and its estimate back
        from, as `AudioSep.separate` does it; None leaves mixtures as they are.
      gain_db: of every mixture before `apply`, to measure quiet recordings; see `at_gain`.
      model: its name in tables.
      batch_size: mixtures per call of `apply`.
      progress: called with (mixtures done, mixtures in all) after each batch.

    Raises:
      EvaluationError: files are missing, do not fit the set, or an estimate is not finite.
      AudioFileError: a file cannot be read.
    """
    check_files(evaluation_set, root)
    entries = evaluation_set.entries
    at_set_rate = resampled_apply(
        apply,
        set_rate_hz=evaluation_set.sample_rate_hz,
        model_rate_hz=model_sample_rate_hz,
        working_level_db=working_level_db,
    )
    at_set_rate = at_gain(at_set_rate, gain_db)
    queries = sorted({entry.query for entry in entries})
    condition_of = dict(zip(queries, encode(queries), strict=True))
    parts = []
    for start in range(0, len(entries), batch_size):
        some = entries[start : start + batch_size]
        mixture, target = render_entries(evaluation_set, some, root=root)
        parts.append(
            measure_batch(
                at_set_rate,
                mixture=mixture,
                target=target,
                condition=np.stack([condition_of[entry.query] for entry in some]),
                absent=np.array([entry.is_absent for entry in some]),
                batch_size=batch_size,
                first=start,
            )
        )
        if progress:
            progress(start + len(some), len(entries))
    result = summarise(evaluation_set, merge(parts), model=model, model_sample_rate_hz=model_sample_rate_hz)
    return dataclasses.replace(result, gain_db=gain_db)


def at_gain(apply: Apply, gain_db: float) -> Apply:
    """Wraps `apply` so that it works on a quieter or louder mixture; the estimate is scaled back."""
    if not gain_db:
        return apply
    gain = np.float32(10 ** (gain_db / 20))
    return lambda mixture, condition: np.asarray(apply(gain * mixture, condition)) / gain


def resampled_apply(
    apply: Apply, *, set_rate_hz: int, model_rate_hz: int, working_level_db: float | None = None
) -> Apply:
    """Wraps `apply` so that it takes and returns waveforms at the set's rate, and works at its own level."""
    levelled = functools.partial(
        at_working_level, sample_rate_hz=set_rate_hz, working_level_db=working_level_db
    )
    if set_rate_hz == model_rate_hz:
        return levelled(apply)

    def at_set_rate(mixture: np.ndarray, condition: np.ndarray) -> np.ndarray:
        inside = resample(mixture, from_hz=set_rate_hz, to_hz=model_rate_hz)
        estimate = np.asarray(apply(inside, condition))
        back = resample(estimate, from_hz=model_rate_hz, to_hz=set_rate_hz)[:, : mixture.shape[-1]]
        return np.pad(back, ((0, 0), (0, mixture.shape[-1] - back.shape[-1])))

    return levelled(at_set_rate)


def summarise(
    evaluation_set: EvaluationSet, measurements: Measurements, *, model: str, model_sample_rate_hz: int
) -> EvaluationResult:
    """Turns the measurements of a whole set, in its order, into rows, class means and intervals."""
    examples, absent = [], []
    for index, entry in enumerate(evaluation_set.entries):
        if entry.is_absent:
            absent.append(
                AbsentResult(
                    index=index,
                    labels=(entry.target.label, entry.interferer.label),
                    query=entry.query,
                    attenuation_db=float(-measurements.energy_ratio_db[index]),
                )
            )
        else:
            kind = evaluation_set.kinds.get(entry.target.label, "")
            examples.append(_example_result(index, entry, measurements, kind=kind))
    labels = sorted({row.target_label for row in examples})
    attenuation = None
    if absent:
        recordings = [recording_of(evaluation_set.entries[row.index].target.file) for row in absent]
        attenuation = bootstrap_interval(np.array([row.attenuation_db for row in absent]), groups=recordings)
    return EvaluationResult(
        set_name=evaluation_set.name,
        model=model,
        sample_rate_hz=evaluation_set.sample_rate_hz,
        model_sample_rate_hz=model_sample_rate_hz,
        seconds=evaluation_set.seconds,
        examples=tuple(examples),
        absent=tuple(absent),
        overall=_class_result("all", examples) if examples else None,
        classes=tuple(
            _class_result(label, [row for row in examples if row.target_label == label]) for label in labels
        ),
        absent_attenuation_db=attenuation,
        kinds=tuple(
            _class_result(kind, [row for row in examples if row.kind == kind])
            for kind in sorted({row.kind for row in examples} - {""})
        ),
    )


def _example_result(index: int, entry: Entry, measurements: Measurements, *, kind: str) -> ExampleResult:
    return ExampleResult(
        index=index,
        target_file=entry.target.file,
        target_label=entry.target.label,
        interferer_file=entry.interferer.file,
        interferer_label=entry.interferer.label,
        query=entry.query,
        kind=kind,
        **{name: float(getattr(measurements, name)[index]) for name in METRICS},
    )


def _class_result(label: str, rows: Sequence[ExampleResult]) -> ClassResult:
    # Mixtures of one target recording succeed or fail together, so they are drawn together.
    recordings = [recording_of(row.target_file) for row in rows]
    values = {name: np.array([getattr(row, name) for row in rows]) for name in METRICS}
    intervals = {name: bootstrap_interval(own, groups=recordings) for name, own in values.items()}
    return ClassResult(label=label, count=len(rows), **intervals)
