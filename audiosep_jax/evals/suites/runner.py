"""Separates and measures batch after batch: files are read ahead and estimates measured while it computes."""

import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np
from jaxtyping import Float32

from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals.measure import filled
from audiosep_jax.evals.suites.definitions import Suite
from audiosep_jax.evals.suites.journal import Journal, Key
from audiosep_jax.evals.suites.measure import Tower, at_measuring_rate, measure, score
from audiosep_jax.evals.suites.mixtures import Mixture, Sound, read_sound
from audiosep_jax.evals.suites.plan import Row

# Batches that are read before they are computed, computed at once, and computed before they are measured.
AHEAD = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A separator as the benchmark needs it.

    Attributes:
      apply: `(mixture [batch, samples], condition [batch, size], lengths [batch]) -> estimate`, of the
        mixture's shape; a row's estimate is that of its first `lengths` samples alone.
      encode: `texts -> condition [texts, size]`.
      row_samples: samples of a mixture -> length of the rows that `apply` takes it in.
      sample_rate_hz: of `apply`.
    """

    apply: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray | jax.Array]
    encode: Callable[[Sequence[str]], np.ndarray]
    row_samples: Callable[[int], int]
    sample_rate_hz: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Computed:
    """A batch that a thread gives to the device, or has got back."""

    rows: Sequence[Row]
    sounds: Sequence[Sound]
    estimate: Future[np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Measured:
    """A batch whose estimates threads measure."""

    rows: Sequence[Row]
    values: Sequence[Future[tuple[dict[str, float], np.ndarray]]]
    sounds: Sequence[Sound]


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
    """Measures every row that the journal does not hold, and writes it there.

    A batch of which a row is missing is computed whole, so that its numbers do not depend on where an earlier
    run ended.

    Args:
      batches: as `planning.plan` returns them.
      suite: says what is measured and at which rate.
      model: that separates.
      journal: of the results.
      batch_size: rows that `model.apply` is given; short batches are filled up.
      workers: threads that read and measure.
      tower: scores the estimates, too, if one is given.
      allow_missing: leave out a mixture that turns out to be unusable when it is read.
      progress: called with the rows that were added.

    Returns:
      Why mixtures were left out.

    Raises:
      AudioSepError: a mixture cannot be used, an estimate is not finite, or the journal cannot be written.
    """
    left = [batch for batch in batches if not all(row.key in journal.values for row in batch)]
    progress(sum(len(batch) for batch in batches) - sum(len(batch) for batch in left))
    texts = sorted({row.query.text for batch in left for row in batch})
    conditions = dict(zip(texts, model.encode(texts), strict=True)) if texts else {}
    unusable: dict[Mixture, str] = {}
    computing: deque[_Computed] = deque()
    measuring: deque[_Measured] = deque()

    def write_oldest() -> None:
        done = measuring.popleft()
        journal.append(_values(done, tower=tower, measure_hz=suite.measure_hz))
        progress(len(done.rows))

    # Two threads wait for the device: an accelerator has the next batch before the one before is fetched, and
    # a processor computes two at once, which fills the cores that one leaves idle in its serial parts.
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
        # After an error nobody waits for what is only queued.
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
) -> _Computed:
    rows, sounds = [row for row, _ in usable], [sound for _, sound in usable]
    # Rows that only fill the batch are one silent sample, and nobody measures them.
    lengths = np.ones(batch_size, np.int32)
    lengths[: len(rows)] = [len(sound.given) for sound in sounds]
    length = max(model.row_samples(int(samples)) for samples in lengths)
    mixture = np.zeros((batch_size, length), np.float32)
    for place, sound in enumerate(sounds):
        mixture[place, : len(sound.given)] = sound.given
    condition = filled(np.stack([conditions[row.query.text] for row in rows]), batch_size)
    estimate = device.submit(lambda: np.asarray(model.apply(mixture, condition, lengths)))
    return _Computed(rows=rows, sounds=sounds, estimate=estimate)


def _submit(pool: ThreadPoolExecutor, computed: _Computed, *, suite: Suite, model_hz: int) -> _Measured:
    def work(row: Row, sound: Sound, whole: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
        own: Float32[np.ndarray, " samples"] = at_measuring_rate(
            whole[: len(sound.given)], sound, model_hz=model_hz, measure_hz=suite.measure_hz
        )
        return measure(row, sound, own, measure_hz=suite.measure_hz, speech=suite.speech), own

    values = [
        pool.submit(work, row, sound, whole)
        for row, sound, whole in zip(computed.rows, computed.sounds, computed.estimate.result(), strict=False)
    ]
    return _Measured(rows=computed.rows, values=values, sounds=computed.sounds)


def _values(done: _Measured, *, tower: Tower | None, measure_hz: int) -> dict[Key, dict[str, float]]:
    measured = [future.result() for future in done.values]
    values = [metrics for metrics, _ in measured]
    if tower is not None:
        estimates = [estimate for _, estimate in measured]
        scores = score(done.rows, done.sounds, estimates, tower=tower, measure_hz=measure_hz)
        values = [metrics | own for metrics, own in zip(values, scores, strict=True)]
    return {row.key: metrics for row, metrics in zip(done.rows, values, strict=True)}
