"""Runs a suite: reads files ahead, separates batch after batch, measures in threads, writes the results."""

import contextlib
import dataclasses
import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float32

from audiosep_jax.errors import AudioSepError, EvaluationError
from audiosep_jax.evals.measure import Progress, filled
from audiosep_jax.evals.optional_packages import metric_package
from audiosep_jax.evals.suites import plan, report
from audiosep_jax.evals.suites.definitions import Dataset, Suite
from audiosep_jax.evals.suites.journal import Journal, Key, fingerprint_of
from audiosep_jax.evals.suites.measure import SCORES, Scorer, Tower, at_measuring_rate, measure, score
from audiosep_jax.evals.suites.mixtures import Mixture, Row, Sound, given_samples, read_sound
from audiosep_jax.evals.suites.results import RESULT_FILE, BenchmarkResult, summarise
from audiosep_jax.utils.atomic import write_json

# Batches that are read ahead, that are computed at once, and that wait to be measured.
AHEAD = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A separator, in the form that a suite runs.

    Attributes:
      apply: `(mixture [batch, samples], condition [batch, size], lengths [batch]) -> estimate`, of the
        mixture's shape; a row's estimate depends on its first `lengths` samples only.
      encode: `texts -> condition [texts, size]`.
      row_samples: length of a mixture -> length of the rows in which `apply` takes it.
      sample_rate_hz: of `apply`.
    """

    apply: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray | jax.Array]
    encode: Callable[[Sequence[str]], np.ndarray]
    row_samples: Callable[[int], int]
    sample_rate_hz: int


def check_packages(suite: Suite) -> None:
    """Imports the packages that a suite's metrics need, before anything is computed.

    Raises:
      MissingPackageError: one is not installed.
    """
    if suite.speech:
        metric_package("pesq")
        metric_package("pystoi")


def run_suite(
    suite: Suite,
    datasets: Sequence[Dataset],
    mixtures: Sequence[Mixture],
    *,
    model: Model,
    name: str,
    checkpoint: str,
    out: Path,
    batch_size: int,
    workers: int,
    scorer: Scorer | None = None,
    allow_missing: bool = False,
    progress: Progress = lambda done, total: None,
) -> BenchmarkResult:
    """Measures a model on a suite and writes rows, result and tables; resumes a run that was interrupted.

    Rows that `out` holds from the same run are kept, unless their files were replaced since. `mixtures` are
    the lists of the datasets, `name` and `checkpoint` the model's name in tables and its fingerprint.
    `workers` threads read and measure. `scorer` adds CLAPScore and RefCLAPScore, `allow_missing` leaves out
    mixtures that cannot be used, and `progress` is called with (rows done, rows in all) after each batch.

    Raises:
      AudioSepError: a mixture cannot be used, none can, or `out` is unusable or holds another run.
    """
    check_packages(suite)
    inventory = plan.take_inventory(
        mixtures,
        samples_of=functools.partial(
            given_samples,
            measure_hz=suite.measure_hz,
            model_hz=model.sample_rate_hz,
            full_band=suite.full_band,
        ),
        workers=workers,
    )
    if not allow_missing or not inventory.samples:
        plan.refuse_unusable(inventory)
    batches = plan.plan(inventory.samples, batch_size=batch_size, row_samples=model.row_samples)
    listed = [Row(mixture, query) for mixture in mixtures for query in mixture.queries]
    run = {
        "suite": suite.name,
        "datasets": [dataset.name for dataset in datasets],
        "model": name,
        "checkpoint": checkpoint,
        "mixtures": fingerprint_of(listed),
        "files": suite.digest,
        "clap": scorer.fingerprint if scorer else "",
    }
    done, total = 0, sum(map(len, batches))

    def add(rows: int) -> None:
        nonlocal done
        done += rows
        progress(done, total)

    stamps = {(mixture.dataset, mixture.id): stamp for mixture, stamp in inventory.stamps.items()}
    with Journal(out, run, stamps) as journal:
        left_out = measure_batches(
            batches,
            suite=suite,
            model=model,
            journal=journal,
            batch_size=batch_size,
            workers=workers,
            tower=scorer.tower if scorer else None,
            allow_missing=allow_missing,
            progress=add,
        )
        unusable = inventory.unusable | left_out
        if len(unusable) == len(mixtures):
            raise EvaluationError(
                f"none of the {len(mixtures)} mixtures can be used, the first because "
                f"{next(iter(unusable.values()))}"
            )
        result = summarise(
            suite,
            datasets,
            mixtures,
            journal.values,
            unusable,
            metrics=(*suite.metrics, *(SCORES if scorer else ())),
            model=name,
            checkpoint=checkpoint,
            model_hz=model.sample_rate_hz,
        )
        write_json(out / RESULT_FILE, dataclasses.asdict(result))
        report.write_tables(result, out)
    return result


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Batch:
    """A batch that is computed on the device, then measured in threads."""

    rows: Sequence[Row]
    sounds: Sequence[Sound]
    estimate: Future[np.ndarray]
    values: Sequence[Future[tuple[dict[str, float], np.ndarray]]] = ()


def measure_batches(
    batches: Sequence[Sequence[Row]],
    *,
    suite: Suite,
    model: Model,
    journal: Journal,
    batch_size: int,
    workers: int,
    tower: Tower | None = None,
    allow_missing: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> dict[Mixture, str]:
    """Measures every row that is not in the journal and writes it there; returns why mixtures were left out.

    A batch with a missing row is computed whole, so that its numbers do not depend on where an earlier run
    ended. Short batches are filled up to `batch_size`. `tower` adds its scores, `allow_missing` leaves out
    mixtures that cannot be read, and `progress` is called with the number of rows that were added.

    Raises:
      AudioSepError: a mixture cannot be used, an estimate is not finite, or the journal cannot be written.
    """
    left = [batch for batch in batches if not all(row.key in journal.values for row in batch)]
    progress(sum(len(batch) for batch in batches) - sum(len(batch) for batch in left))
    texts = sorted({row.query.text for batch in left for row in batch})
    conditions = dict(zip(texts, model.encode(texts), strict=True)) if texts else {}
    unusable: dict[Mixture, str] = {}
    computing: deque[_Batch] = deque()
    measuring: deque[_Batch] = deque()

    def write_oldest() -> None:
        done = measuring.popleft()
        journal.append(_values(done, tower=tower, measure_hz=suite.measure_hz))
        progress(len(done.rows))

    # Two threads wait for the device: an accelerator gets the next batch before the last one is fetched, and
    # a CPU computes two at once, which uses the cores that are idle in the serial parts of one.
    with _threads(workers) as pool, _threads(AHEAD) as device:

        def measure_oldest() -> None:
            computed = computing.popleft()
            measuring.append(_submit(pool, computed, suite=suite, model_hz=model.sample_rate_hz))

        ahead = max(AHEAD, -(-2 * workers // batch_size))
        for batch, sounds in _read_ahead(pool, left, ahead=ahead, suite=suite, model=model):
            usable = []
            for row in batch:
                try:
                    usable.append((row, sounds[row.mixture].result()))
                except AudioSepError as error:
                    if not allow_missing:
                        raise
                    unusable[row.mixture] = str(error)
            if usable:
                computing.append(
                    _compute(device, usable, model=model, conditions=conditions, batch_size=batch_size)
                )
            progress(len(batch) - len(usable))
            while len(computing) > AHEAD:
                measure_oldest()
            while len(measuring) >= AHEAD:
                write_oldest()
        while computing:
            measure_oldest()
        while measuring:
            write_oldest()
    return unusable


@contextlib.contextmanager
def _threads(workers: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        # After an error, queued work is dropped.
        pool.shutdown(cancel_futures=True)


def _read_ahead(
    pool: ThreadPoolExecutor, batches: Iterable[Sequence[Row]], *, ahead: int, suite: Suite, model: Model
) -> Iterator[tuple[Sequence[Row], Mapping[Mixture, Future[Sound]]]]:
    reading: deque = deque()
    for batch in batches:
        sounds = {
            mixture: pool.submit(
                read_sound,
                mixture,
                measure_hz=suite.measure_hz,
                model_hz=model.sample_rate_hz,
                full_band=suite.full_band,
            )
            for mixture in dict.fromkeys(row.mixture for row in batch)
        }
        reading.append((batch, sounds))
        if len(reading) > ahead:
            yield reading.popleft()
    yield from reading


def _compute(
    device: ThreadPoolExecutor,
    usable: Sequence[tuple[Row, Sound]],
    *,
    model: Model,
    conditions: Mapping[str, np.ndarray],
    batch_size: int,
) -> _Batch:
    rows, sounds = [row for row, _ in usable], [sound for _, sound in usable]
    # Rows that only fill the batch are one silent sample; they are not measured.
    lengths = np.ones(batch_size, np.int32)
    lengths[: len(rows)] = [len(sound.given) for sound in sounds]
    length = max(model.row_samples(int(samples)) for samples in lengths)
    mixture = np.zeros((batch_size, length), np.float32)
    for place, sound in enumerate(sounds):
        mixture[place, : len(sound.given)] = sound.given
    condition = filled(np.stack([conditions[row.query.text] for row in rows]), batch_size)
    estimate = device.submit(lambda: np.asarray(model.apply(mixture, condition, lengths)))
    return _Batch(rows=rows, sounds=sounds, estimate=estimate)


def _submit(pool: ThreadPoolExecutor, computed: _Batch, *, suite: Suite, model_hz: int) -> _Batch:
    def work(row: Row, sound: Sound, whole: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
        own: Float32[np.ndarray, " samples"] = at_measuring_rate(
            whole[: len(sound.given)], sound, model_hz=model_hz, measure_hz=suite.measure_hz
        )
        return measure(row, sound, own, measure_hz=suite.measure_hz, speech=suite.speech), own

    values = [
        pool.submit(work, row, sound, whole)
        for row, sound, whole in zip(computed.rows, computed.sounds, computed.estimate.result(), strict=False)
    ]
    return dataclasses.replace(computed, values=values)


def _values(done: _Batch, *, tower: Tower | None, measure_hz: int) -> dict[Key, dict[str, float]]:
    measured = [future.result() for future in done.values]
    values = [metrics for metrics, _ in measured]
    if tower is not None:
        estimates = [estimate for _, estimate in measured]
        scores = score(done.rows, done.sounds, estimates, tower=tower, measure_hz=measure_hz)
        values = [metrics | own for metrics, own in zip(values, scores, strict=True)]
    return {row.key: metrics for row, metrics in zip(done.rows, values, strict=True)}
