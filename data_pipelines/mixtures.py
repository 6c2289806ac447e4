"""The grain pipeline: prepared datasets in, batches of segments with their draws and conditions out."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import grain
import numpy as np

from audiosep_jax.config import DataConfig, MixtureConfig
from audiosep_jax.errors import AudioSepError
from data_pipelines.clip_index import ClipStore
from data_pipelines.clips import decode_flac
from data_pipelines.draws import ClipTable, Crop, Draw, DrawSource

Conditions = Mapping[str, np.ndarray] | Callable[[Sequence[str]], np.ndarray]
"""Condition vectors by caption, or what computes them: `QueryEncoder.encode` is one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureBatch:
    """One batch, this process's part of it. Mixing happens on the device, from `arrays`.

    Attributes:
      step: which step it belongs to.
      segments: float32 `[batch, sources, samples]`; source 0 is the target.
      gains_db: int32 `[batch, sources]`; a gain per interferer, then the gain of their sum.
      level_db: float32 `[batch]`; gain of the finished mixture.
      absent: bool `[batch]`; the caption names none of the sources, so the target is silence.
      condition: float32 `[batch, size]`.
      captions: the query of each example.
      ids: per example, the files of its sources.
    """

    step: int
    segments: np.ndarray
    gains_db: np.ndarray
    level_db: np.ndarray
    absent: np.ndarray
    condition: np.ndarray
    captions: tuple[str, ...]
    ids: tuple[tuple[str, ...], ...]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What goes to the device."""
        names = ("segments", "gains_db", "level_db", "absent", "condition")
        return {name: getattr(self, name) for name in names}


class MixturePipeline:
    """Mixtures from prepared datasets. What step holds what depends on the arguments alone.

    Args:
      data: `datasets`, `weights`, `seed` and the reading threads; pass `dataclasses.replace(data,
        datasets=data.validation, weights=())` for validation.
      mixture: the recipe.
      sample_rate_hz: the model's rate; the datasets must be stored at it.
      batch_size: examples of a global batch.
      conditions: vectors per caption; a callable is asked once for all captions.
      process_index, process_count: this process's place; with `local = batch_size / process_count` it gets
        the positions from `process_index · local` on of each global batch.

    Attributes:
      table: the clips.
      captions: every distinct caption, sorted.

    Raises:
      AudioSepError: a dataset is unusable or of another rate, a caption has no condition, or some clip
        could meet no other.
    """

    def __init__(
        self,
        data: DataConfig,
        mixture: MixtureConfig,
        *,
        sample_rate_hz: int,
        batch_size: int,
        conditions: Conditions,
        process_index: int = 0,
        process_count: int = 1,
    ):
        if batch_size % process_count:
            raise AudioSepError(
                f"A batch of {batch_size} cannot be split over {process_count} processes: choose a multiple."
            )
        self._data = data
        self._local = batch_size // process_count
        self._stores = _open(data, sample_rate_hz)
        self.table = ClipTable([store.clips for store in self._stores])
        self.captions = self.table.captions
        self._conditions = _stack(conditions, self.captions)
        self._segment = round(mixture.segment_seconds * sample_rate_hz)
        self._draws = DrawSource(
            self.table,
            mixture,
            sample_rate_hz=sample_rate_hz,
            batch_size=batch_size,
            seed=data.seed,
            weights=data.weights,
            process_index=process_index,
            process_count=process_count,
        )
        edges = np.cumsum([0, *self.table.sizes])
        self._places = [
            (store, int(first))
            for store, first in zip(self._stores, edges, strict=False)
            for _ in store.clips
        ]

    def batches(
        self, *, start_step: int = 0, stop_step: int | None = None
    ) -> grain.IterDataset[MixtureBatch]:
        """Returns the batches from `start_step` on; starting late costs nothing.

        Args:
          start_step: step of the first batch.
          stop_step: the step that is not delivered any more; None goes on for ever.
        """
        last = None if stop_step is None else stop_step * self._local
        draws = grain.MapDataset.source(self._draws)[start_step * self._local : last]
        batches = draws.batch(self._local, drop_remainder=True, batch_fn=list).map(self._load)
        threads = self._data.read_threads
        # A smaller buffer would leave threads idle; `DataConfig.prefetch` says that each holds one batch.
        options = grain.ReadOptions(
            num_threads=threads, prefetch_buffer_size=max(threads, self._data.prefetch)
        )
        return batches.to_iter_dataset(options)

    def _load(self, draws: list[Draw]) -> MixtureBatch:
        segments = np.zeros((len(draws), len(draws[0].crops), self._segment), np.float32)
        for example, draw in zip(segments, draws, strict=True):
            for segment, crop in zip(example, draw.crops, strict=True):
                self._decode(crop, segment)
        return MixtureBatch(
            step=draws[0].step,
            segments=segments,
            gains_db=np.array([draw.gains_db for draw in draws], np.int32),
            level_db=np.array([draw.level_db for draw in draws], np.float32),
            absent=np.array([draw.absent for draw in draws]),
            condition=self._conditions[[draw.caption for draw in draws]],
            captions=tuple(self.captions[draw.caption] for draw in draws),
            ids=tuple(tuple(self.table.clips[crop.clip].id for crop in draw.crops) for draw in draws),
        )

    def _decode(self, crop: Crop, segment: np.ndarray) -> None:
        store, first = self._places[crop.clip]
        out = segment[crop.offset : crop.offset + crop.stop - crop.start]
        try:
            decode_flac(store.flac(crop.clip - first), out, start=crop.start)
        except AudioSepError as error:
            raise AudioSepError(f"{store.folder}, clip {self.table.clips[crop.clip].id}: {error}") from error


def _open(data: DataConfig, sample_rate_hz: int) -> list[ClipStore]:
    if not data.datasets:
        raise AudioSepError("data.datasets is empty: name folders that `audiosep prepare` wrote.")
    if data.weights and (len(data.weights) != len(data.datasets) or min(data.weights) <= 0):
        raise AudioSepError(
            f"data.weights is {data.weights}: give one positive number for each of the "
            f"{len(data.datasets)} datasets, or none."
        )
    stores = [ClipStore(entry) for entry in data.datasets]
    for store in stores:
        if store.sample_rate_hz != sample_rate_hz:
            raise AudioSepError(
                f"{store.folder} is stored at {store.sample_rate_hz} Hz, the model works at {sample_rate_hz} "
                f"Hz: prepare it with --sample-rate-hz {sample_rate_hz}."
            )
    return stores


def _stack(conditions: Conditions, captions: Sequence[str]) -> np.ndarray:
    if isinstance(conditions, Mapping):
        missing = [caption for caption in captions if caption not in conditions]
        if missing:
            raise AudioSepError(
                f"{len(missing)} of {len(captions)} captions have no condition, the first is {missing[0]!r}: "
                "compute them anew."
            )
        table = np.stack([conditions[caption] for caption in captions])
    else:
        table = np.asarray(conditions(captions))
    if table.ndim != 2 or len(table) != len(captions) or not np.isfinite(table).all():
        raise AudioSepError(
            f"The conditions have shape {table.shape}: finite numbers of shape [{len(captions)}, size] are "
            "needed, one row per caption."
        )
    return table.astype(np.float32)
