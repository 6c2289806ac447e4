"""A suite from its lists to its results on disk."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from audiosep_jax.errors import EvaluationError
from audiosep_jax.evals.optional_packages import metric_package
from audiosep_jax.evals.suites import plan, report
from audiosep_jax.evals.suites.definitions import Dataset, Suite
from audiosep_jax.evals.suites.journal import Journal, fingerprint_of
from audiosep_jax.evals.suites.measure import SCORES, Tower
from audiosep_jax.evals.suites.mixtures import Mixture, given_samples
from audiosep_jax.evals.suites.plan import Row
from audiosep_jax.evals.suites.results import RESULT_FILE, BenchmarkResult, summarise
from audiosep_jax.evals.suites.runner import Model, measure_batches
from audiosep_jax.utils.atomic import write_json

# (rows done, rows in all)
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scorer:
    """A CLAP that scores estimates.

    Attributes:
      tower: that hears and reads.
      fingerprint: of it; scores of two towers cannot be compared.
    """

    tower: Tower
    fingerprint: str


def check_packages(suite: Suite) -> None:
    """Imports the packages that a suite's metrics need, before anything is computed.

    Raises:
      AudioSepError: one is not installed.
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
    """Measures what is missing of a suite and writes rows, result and tables.

    Args:
      suite: that is run.
      datasets: of it.
      mixtures: the lists of these datasets.
      model: that is measured.
      name: how tables call it.
      checkpoint: its fingerprint.
      out: folder of the results; one that holds a part of the same run is continued. Rows whose files have
        been exchanged since are measured again.
      batch_size: rows that are separated together.
      workers: threads that read and measure.
      scorer: adds CLAPScore and RefCLAPScore.
      allow_missing: go on without mixtures that cannot be used.
      progress: called after each batch.

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
