"""The grain pipeline: reads prepared datasets, yields batches of segments with draws and conditions."""

import dataclasses

import grain
import numpy as np

from audiosep_jax.config import AugmentConfig, DataConfig, MixtureConfig
from audiosep_jax.errors import AudioSepError, ConfigError, DatasetError
from data_pipelines.mixtures.augmentation import at_speed, filtered
from data_pipelines.mixtures.clip_index import ClipStore
from data_pipelines.mixtures.clip_table import ClipTable
from data_pipelines.mixtures.clips import SILENCE_PEAK, decode_flac
from data_pipelines.mixtures.conditions import Conditions, QueryTable
from data_pipelines.mixtures.draws import NO_CAPTION, Crop, Draw, DrawSource
from data_pipelines.mixtures.supervision import Modality, Supervision


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureBatch:
    """This process's part of one batch. The device mixes `arrays`.

    Attributes:
      step: the step of the batch.
      segments: float32 `[batch, sources, samples]`; source 0 is the target. Missing sources of a mixture are
        zeros at the end.
      gains_db: int32 `[batch, sources]`; a gain per interferer, then the gain of their sum.
      level_db: float32 `[batch]`; gain of the finished mixture.
      absent: bool `[batch]`; the query describes none of the sources, so the target is silence.
      condition: float32 `[batch, size]`.
      captions: a caption of the clip that each query describes, "" if it has none; the query itself if the
        modality is "text".
      modality: the source of each example's condition.
      ids: per example, the files of its sources.
      snr_db: float32 `[batch]`, energy of the target over that of the others; None if gains decide it.
    """

    step: int
    segments: np.ndarray
    gains_db: np.ndarray
    level_db: np.ndarray
    absent: np.ndarray
    condition: np.ndarray
    captions: tuple[str, ...]
    modality: tuple[Modality, ...]
    ids: tuple[tuple[str, ...], ...]
    snr_db: np.ndarray | None = None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that are sent to the device, by name."""
        names = ("segments", "gains_db", "level_db", "absent", "condition")
        arrays = {name: getattr(self, name) for name in names}
        return arrays if self.snr_db is None else {**arrays, "snr_db": self.snr_db}


class MixturePipeline:
    """Mixtures from prepared datasets. The content of a step depends on the arguments alone.

    Args:
      data: `datasets`, `weights`, `seed` and the reading threads; pass `dataclasses.replace(data,
        datasets=data.validation, weights=())` for validation.
      mixture: the recipe.
      sample_rate_hz: the model's rate, which must be the datasets' rate.
      batch_size: examples of a global batch.
      conditions: vectors per caption, or a function that is called once with all captions.
      augment: how sounds are changed before they are mixed.
      supervision: encodes sound and frames as conditions. The threads that decode sound encode it.
      process_index, process_count: this process gets `local = batch_size / process_count` positions of each
        global batch, from `process_index · local` on.
      microbatches: parts of consecutive positions of the global batch, which a step computes one after the
        other. A process gets its slice of each part, that of the first part first.

    Attributes:
      table: the clips.
      captions: every distinct caption, sorted.
      modalities: the possible sources of conditions.

    Raises:
      ConfigError: datasets are not given, or weights or the batch size do not fit.
      DatasetError: a dataset is damaged or has another rate, a caption or clip has no condition, or a clip
        may meet too few others.
    """

    def __init__(
        self,
        data: DataConfig,
        mixture: MixtureConfig,
        *,
        sample_rate_hz: int,
        batch_size: int,
        conditions: Conditions,
        supervision: Supervision = Supervision(),
        augment: AugmentConfig = AugmentConfig(),
        process_index: int = 0,
        process_count: int = 1,
        microbatches: int = 1,
    ):
        if batch_size % (process_count * microbatches):
            parts = f" in {microbatches} microbatches" if microbatches > 1 else ""
            raise ConfigError(
                f"A batch of {batch_size} cannot be split over {process_count} processes{parts}: choose a "
                f"multiple of {process_count * microbatches}."
            )
        self._data = data
        self._local = batch_size // process_count
        self._stores = _open(data, sample_rate_hz)
        table = ClipTable([store.clips for store in self._stores], mixture)
        self.captions = table.captions
        self.modalities = supervision.modalities(table.clips)
        supervision.check(table.clips)
        edges = np.cumsum([0, *table.sizes])
        self._places = [
            (store, int(first))
            for store, first in zip(self._stores, edges, strict=False)
            for _ in store.clips
        ]
        self._sample_rate_hz = sample_rate_hz
        self._segment = round(mixture.segment_seconds * sample_rate_hz)
        self._sources = mixture.sources
        # Names are checked before conditions are computed, which may take hours.
        table.check(mixture.sources + (mixture.absent_probability > 0))
        self.table = table
        self._queries = QueryTable(table, conditions, supervision, self._frames)
        self.table = table.with_conditions(self._queries.caption_conditions)
        self._draws = DrawSource(
            self.table,
            mixture,
            sample_rate_hz=sample_rate_hz,
            batch_size=batch_size,
            seed=data.seed,
            weights=data.weights,
            label_balance=data.label_balance,
            supervision=supervision,
            augment=augment,
            process_index=process_index,
            process_count=process_count,
            microbatches=microbatches,
        )

    def batches(
        self, *, start_step: int = 0, stop_step: int | None = None
    ) -> grain.IterDataset[MixtureBatch]:
        """Returns the batches from `start_step` up to `stop_step`, without computing the earlier ones."""
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
        segments = np.zeros((len(draws), self._sources, self._segment), np.float32)
        decoded: dict[Crop, np.ndarray] = {}
        for example, draw in zip(segments, draws, strict=True):
            for segment, crop in zip(example, draw.crops, strict=False):
                if crop in decoded:  # a neighbour has the same crop
                    segment[:] = decoded[crop]
                else:
                    self._decode(crop, segment)
                    decoded[crop] = segment
        heard = [
            self._heard(draw, example[0])
            for example, draw in zip(segments, draws, strict=True)
            if draw.heard is not None
        ]
        ratios = [draw.snr_db for draw in draws]
        return MixtureBatch(
            step=draws[0].step,
            segments=segments,
            gains_db=np.array([draw.gains_db for draw in draws], np.int32),
            level_db=np.array([draw.level_db for draw in draws], np.float32),
            absent=np.array([draw.absent for draw in draws]),
            condition=self._queries.conditions(draws, heard),
            captions=tuple(
                "" if draw.caption == NO_CAPTION else self.captions[draw.caption] for draw in draws
            ),
            modality=tuple(draw.modality for draw in draws),
            ids=tuple(tuple(self.table.clips[crop.clip].id for crop in draw.crops) for draw in draws),
            snr_db=None if None in ratios else np.array(ratios, np.float32),
        )

    def _heard(self, draw: Draw, target: np.ndarray) -> np.ndarray:
        """Returns the segment that is encoded as the condition: the target, or that of an absent clip."""
        assert draw.heard is not None
        segment = target
        if draw.absent:
            segment = np.zeros(self._segment, np.float32)
            self._decode(draw.heard, segment)
        if np.max(np.abs(segment)) < SILENCE_PEAK:
            # A clip may pause for a whole segment; then its beginning is encoded.
            clip = self.table.clips[draw.asked]
            start = clip.active[0]
            stop = min(start + self._segment, clip.samples)
            segment = np.zeros(self._segment, np.float32)
            crop = Crop(clip=draw.asked, start=start, stop=stop, offset=0, length=stop - start)
            self._decode(crop, segment)
        return segment

    def _frames(self, clip: int) -> list[bytes]:
        store, first = self._places[clip]
        try:
            return store.frames(clip - first)
        except AudioSepError as error:
            raise DatasetError(f"{store.folder}, clip {self.table.clips[clip].id}: {error}") from error

    def _decode(self, crop: Crop, segment: np.ndarray) -> None:
        store, first = self._places[crop.clip]
        out = segment[crop.offset : crop.offset + crop.length]
        treatment = crop.treatment
        played = out if treatment.speed == 1 else np.zeros(crop.stop - crop.start, np.float32)
        try:
            decode_flac(store.flac(crop.clip - first), played, start=crop.start)
        except AudioSepError as error:
            raise DatasetError(f"{store.folder}, clip {self.table.clips[crop.clip].id}: {error}") from error
        if treatment.speed != 1:
            out[:] = at_speed(played, treatment.speed, samples=crop.length)
        if treatment.filters:
            segment[:] = filtered(segment, treatment, sample_rate_hz=self._sample_rate_hz)


def _open(data: DataConfig, sample_rate_hz: int) -> list[ClipStore]:
    if not data.datasets:
        raise ConfigError("data.datasets is empty: give folders that `audiosep prepare` wrote.")
    if data.weights and (len(data.weights) != len(data.datasets) or min(data.weights) <= 0):
        raise ConfigError(
            f"data.weights is {data.weights}: give one positive number for each of the "
            f"{len(data.datasets)} datasets, or none."
        )
    stores = [ClipStore(entry) for entry in data.datasets]
    for store in stores:
        if store.sample_rate_hz != sample_rate_hz:
            raise DatasetError(
                f"{store.folder} is stored at {store.sample_rate_hz} Hz, the model works at {sample_rate_hz} "
                f"Hz: prepare it with --sample-rate-hz {sample_rate_hz}."
            )
    return stores
