"""Draws clips, crops and gains of a mixture: pure functions of (seed, step, position)."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import cast

import grain
import numpy as np

from audiosep_jax.config import MixtureConfig
from data_pipelines.mixtures.clip_table import ClipTable
from data_pipelines.mixtures.supervision import Modality, Supervision

ACTIVE_SECONDS = 0.5
"""A crop holds at least this much of the active part of its clip, or all of it where there is less."""

NO_CAPTION = -1

_ENDLESS = 2**48

# Draws that were added later have random streams of their own, so that they do not change the others.
_MODALITY_STREAM, _RECIPE_STREAM, _NEIGHBOUR_STREAM = 1, 2, 3


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """A part of a clip and its place in the segment.

    Attributes:
      clip: index of the clip.
      start, stop: range of the clip's samples.
      offset: where they begin in the segment; the rest of the segment is zero.
    """

    clip: int
    start: int
    stop: int
    offset: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """All random numbers of one mixture.

    Attributes:
      step, position: of the example: its batch, and its place in the batch.
      crops: one per source, the target first.
      caption: index in `ClipTable.captions`, or `NO_CAPTION`; drawn even if the condition does not use it.
      absent: whether the query describes none of the sources.
      gains_db: integer gains of the interferers (as many as a mixture can have), then that of their sum.
      level_db: gain of the finished mixture.
      asked: index of the clip that the query describes: the target, or an absent clip.
      modality: source of the condition.
      heard: the part of `asked` whose sound is encoded as the condition; None for other modalities.
      snr_db: energy of the target over that of the sum of interferers, in place of the sum's gain; None if
        the recipe uses the gain.
    """

    step: int
    position: int
    crops: tuple[Crop, ...]
    caption: int
    absent: bool
    gains_db: tuple[int, ...]
    level_db: float
    asked: int
    modality: Modality
    heard: Crop | None
    snr_db: float | None = None


class DrawSource:
    """Random access to draws: element `k` is example `k % local` of this process in step `k // local`.

    The seed decides every draw, together with step and position. `weights` are the shares of the datasets
    among targets and interferers; if empty, their shares of the clips. A process reads one slice of each of
    the microbatches, which are consecutive parts of the global batch. So the content of a part does not
    depend on the number of processes.
    """

    def __init__(
        self,
        table: ClipTable,
        mixture: MixtureConfig,
        *,
        sample_rate_hz: int,
        batch_size: int,
        seed: int,
        weights: Sequence[float] = (),
        supervision: Supervision = Supervision(),
        process_index: int = 0,
        process_count: int = 1,
        microbatches: int = 1,
    ):
        self._table = table
        self._mixture = mixture
        self._supervision = supervision
        self._segment = round(mixture.segment_seconds * sample_rate_hz)
        self._active = round(ACTIVE_SECONDS * sample_rate_hz)
        self._batch_size = batch_size
        self._seed = seed
        self._local = batch_size // process_count
        self._part = batch_size // microbatches
        self._slice = self._part // process_count
        self._first = process_index * self._slice
        if table.lacks_conditions:
            raise ValueError('the rule "similarity" needs ClipTable.with_conditions')
        table.check(mixture.sources + (mixture.absent_probability > 0))
        shares = np.asarray(weights or table.sizes, float)
        self._dataset_edges = np.cumsum(shares / shares.sum())
        self._clip_edges = np.concatenate([[0], np.cumsum(table.sizes)])
        self._targets = _target_order(table.sizes, weights, seed)

    def __len__(self) -> int:
        return _ENDLESS // self._batch_size * self._local

    def __getitem__(self, index: int) -> Draw:
        step, place = divmod(int(index), self._local)
        part, place = divmod(place, self._slice)
        return self.draw(step, part * self._part + self._first + place)

    def draw(self, step: int, position: int) -> Draw:
        """Draws one mixture."""
        mixture, table = self._mixture, self._table
        rng = np.random.default_rng([self._seed, step, position])
        target = self._target(step, position)
        absent = bool(rng.random() < mixture.absent_probability)
        sources, snr_db = self._recipe(step, position)
        near = self._neighbours(step, position, sources - 1) if mixture.interferers == "neighbours" else {}
        others = table.companions(
            target, count=sources - 1 + absent, rng=rng, pick=self._pick, beside=tuple(near)
        )
        asked = others.pop() if absent else target
        captions = table.captions_of[asked]
        low, high = mixture.gain_range_db
        places = {target: position, **near} if mixture.interferers == "neighbours" else {}
        crops = tuple(
            self._target_crop(step, places[clip]) if clip in places else self._crop(clip, rng)
            for clip in (target, *others)
        )
        draw = Draw(
            step=step,
            position=position,
            crops=crops,
            caption=captions[rng.integers(len(captions))] if captions else NO_CAPTION,
            absent=absent,
            gains_db=tuple(rng.integers(low, high, size=mixture.sources, endpoint=True).tolist()),
            level_db=float(rng.uniform(*mixture.level_range_db)),
            asked=asked,
            modality="text",
            heard=None,
            snr_db=snr_db,
        )
        return self._with_modality(draw)

    def _target(self, step: int, position: int) -> int:
        return cast(int, self._targets[step * self._batch_size + position])

    def _recipe(self, step: int, position: int) -> tuple[int, float | None]:
        """Draws the number of sources, and the energy of the target over that of the others in dB."""
        mixture = self._mixture
        fewest = mixture.fewest_sources or mixture.sources
        if fewest == mixture.sources and not mixture.snr_range_db:
            return mixture.sources, None
        rng = np.random.default_rng([self._seed, step, position, _RECIPE_STREAM])
        sources = int(rng.integers(fewest, mixture.sources, endpoint=True))
        if not mixture.snr_range_db:
            return sources, None
        lowest, highest = mixture.snr_range_db
        return sources, float(rng.uniform(lowest, highest))

    def _neighbours(self, step: int, position: int, count: int) -> dict[int, int]:
        """Returns the next targets of the batch that may all meet, each with its position in the batch."""
        chosen = {self._target(step, position): position}
        for further in range(1, self._batch_size):
            if len(chosen) == count + 1:
                break
            there = (position + further) % self._batch_size
            clip = self._target(step, there)
            if self._table.may_meet(clip, tuple(chosen)):
                chosen[clip] = there
        return dict(list(chosen.items())[1:])

    def _target_crop(self, step: int, position: int) -> Crop:
        """Draws the crop of a target independently of its mixture, so that its neighbours can share it."""
        rng = np.random.default_rng([self._seed, step, position, _NEIGHBOUR_STREAM])
        return self._crop(self._target(step, position), rng)

    def _with_modality(self, draw: Draw) -> Draw:
        """Draws the modality, if there is a choice or no caption."""
        ratio, described = self._supervision.text_ratio, draw.caption != NO_CAPTION
        beside_text = self._supervision.beside_text(self._table.clips[draw.asked])
        if beside_text is None or (described and ratio == 1):
            return draw
        rng = np.random.default_rng([self._seed, draw.step, draw.position, _MODALITY_STREAM])
        if rng.random() < ratio and described:
            return draw
        heard = None
        if beside_text == "audio":
            heard = self._crop(draw.asked, rng) if draw.absent else draw.crops[0]
        return dataclasses.replace(draw, modality=beside_text, heard=heard)

    def _pick(self, rng: np.random.Generator) -> int:
        dataset = min(np.searchsorted(self._dataset_edges, rng.random(), "right"), len(self._table.sizes) - 1)
        return int(rng.integers(self._clip_edges[dataset], self._clip_edges[dataset + 1]))

    def _crop(self, index: int, rng: np.random.Generator) -> Crop:
        clip, segment = self._table.clips[index], self._segment
        if clip.samples <= segment:
            offset = int(rng.integers(segment - clip.samples, endpoint=True))
            return Crop(clip=index, start=0, stop=clip.samples, offset=offset)
        first, end = clip.active
        needed = min(self._active, end - first, segment)
        low = max(0, first + needed - segment)
        high = min(clip.samples - segment, end - needed)
        start = int(rng.integers(low, high, endpoint=True))
        return Crop(clip=index, start=start, stop=start + segment, offset=0)


class _EpochOrder:
    """Random access to the clips `first` to `first + size`, each once per epoch, in a new order each epoch.

    It draws whole permutations. For ten clips, grain's `shuffle` takes milliseconds per index, because it
    walks a 16-bit cipher until it finds a valid index.
    """

    def __init__(self, first: int, size: int, seed: tuple[int, int]):
        self._first, self._size, self._seed = first, size, seed
        self._permutation = functools.lru_cache(maxsize=2)(self._draw_permutation)

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, index: int) -> int:
        epoch, place = divmod(int(index), self._size)
        return self._first + int(self._permutation(epoch)[place])

    def _draw_permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([*self._seed, epoch]).permutation(self._size)


def _target_order(sizes: Sequence[int], weights: Sequence[float], seed: int) -> grain.MapDataset[int]:
    """Orders targets so that each clip comes once per epoch; with weights, once per epoch of its dataset."""
    if not weights:
        return grain.MapDataset.source(_EpochOrder(0, sum(sizes), (seed, 0)))
    edges = np.cumsum([0, *sizes]).tolist()
    orders = [
        _EpochOrder(first, size, (seed, number))
        for number, (first, size) in enumerate(zip(edges, sizes, strict=False))
    ]
    return grain.MapDataset.mix([grain.MapDataset.source(order) for order in orders], weights)
