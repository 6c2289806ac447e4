"""Draws clips, crops and gains of a mixture: pure functions of (seed, step, position)."""

import dataclasses
import functools
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import cast

import grain
import numpy as np

from audiosep_jax.config import AugmentConfig, MixtureConfig
from data_pipelines.mixtures.augmentation import Treatment, draw_treatment
from data_pipelines.mixtures.clip_table import ClipTable
from data_pipelines.mixtures.supervision import Modality, Supervision

ACTIVE_SECONDS = 0.5
"""A crop holds at least this much of the active part of its clip, or all of it where there is less."""

NO_CAPTION = -1

_ENDLESS = 2**48

# Draws that were added later have random streams of their own, so that they do not change the others.
_MODALITY_STREAM, _RECIPE_STREAM, _NEIGHBOUR_STREAM, _AUGMENT_STREAM = 1, 2, 3, 4
_BALANCE_STREAM = 5

_AS_IT_IS = Treatment()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """A part of a clip and its place in the segment.

    Attributes:
      clip: index of the clip.
      start, stop: range of the clip's samples.
      offset: where they begin in the segment; the rest of the segment is zero.
      length: samples that they fill; as many as the range has, unless the speed changes.
      treatment: how the sound is changed before it is mixed.
    """

    clip: int
    start: int
    stop: int
    offset: int
    length: int
    treatment: Treatment = _AS_IT_IS


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
    among targets and interferers; if empty, their shares of the clips. `label_balance` is that of
    `DataConfig`. A process reads one slice of each of
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
        label_balance: float = 0.0,
        supervision: Supervision = Supervision(),
        augment: AugmentConfig = AugmentConfig(),
        process_index: int = 0,
        process_count: int = 1,
        microbatches: int = 1,
    ):
        self._table = table
        self._mixture = mixture
        self._supervision = supervision
        self._augment = augment
        self._sample_rate_hz = sample_rate_hz
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
        self._clip_shares = _balanced_shares(table, label_balance) if label_balance else []
        self._targets = _target_order(table.sizes, weights, seed, self._clip_shares)

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
        treatments = self._treatments(step, position, 1 + len(others))
        crops = tuple(
            self._target_crop(step, places[clip]) if clip in places else self._crop(clip, rng, treatment)
            for clip, treatment in zip((target, *others), treatments, strict=True)
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
        return self._crop(self._target(step, position), rng, *self._treatments(step, position, 1))

    def _treatments(self, step: int, position: int, count: int) -> list[Treatment]:
        """Draws how each sound of a mixture is changed, the target's first."""
        if not self._augment.changes_sounds:
            return [_AS_IT_IS] * count
        rng = np.random.default_rng([self._seed, step, position, _AUGMENT_STREAM])
        return [draw_treatment(self._augment, rng, sample_rate_hz=self._sample_rate_hz) for _ in range(count)]

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
        first, end = self._clip_edges[dataset : dataset + 2]
        if self._clip_shares:
            return int(first + _choose(self._clip_shares[dataset], rng))
        return int(rng.integers(first, end))

    def _crop(self, index: int, rng: np.random.Generator, treatment: Treatment = _AS_IT_IS) -> Crop:
        clip, segment, speed = self._table.clips[index], self._segment, treatment.speed
        # All lengths are those of the clip as it is played.
        samples = max(1, int(clip.samples / speed))
        if samples <= segment:
            offset = int(rng.integers(segment - samples, endpoint=True))
            return Crop(
                clip=index, start=0, stop=clip.samples, offset=offset, length=samples, treatment=treatment
            )
        first, end = (min(samples, int(edge / speed)) for edge in clip.active)
        needed = min(self._active, end - first, segment)
        low = max(0, first + needed - segment)
        high = min(samples - segment, end - needed)
        start = int(rng.integers(low, max(low, high), endpoint=True))
        stop = min(clip.samples, math.ceil((start + segment) * speed))
        return Crop(
            clip=index, start=int(start * speed), stop=stop, offset=0, length=segment, treatment=treatment
        )


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


class _BalancedOrder:
    """Random access to independent draws of the clips from `first` on, by their cumulative shares."""

    def __init__(self, first: int, shares: np.ndarray, seed: tuple[int, int]):
        self._first, self._shares, self._seed = first, shares, seed

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, index: int) -> int:
        rng = np.random.default_rng([*self._seed, _BALANCE_STREAM, int(index)])
        return self._first + _choose(self._shares, rng)


def _choose(shares: np.ndarray, rng: np.random.Generator) -> int:
    """Draws an index by cumulative shares."""
    return min(int(np.searchsorted(shares, rng.random(), "right")), len(shares) - 1)


def _balanced_shares(table: ClipTable, balance: float) -> list[np.ndarray]:
    """Returns for each dataset the cumulative shares of its clips; a clip without label is one of its own."""
    shares, edges = [], np.cumsum([0, *table.sizes])
    for first, end in itertools.pairwise(edges):
        clips = table.clips[first:end]
        counts = Counter(clip.label for clip in clips)
        share = np.array([(counts[clip.label] if clip.label else 1) ** -balance for clip in clips])
        shares.append(np.cumsum(share / share.sum()))
    return shares


def clip_shares(table: ClipTable, weights: Sequence[float] = (), balance: float = 0.0) -> np.ndarray:
    """Returns each clip's share of all draws, for `weights` and `label_balance` of `DataConfig`."""
    datasets = np.asarray(weights or table.sizes, float)
    within = [np.diff(shares, prepend=0.0) for shares in _balanced_shares(table, balance)]
    return np.concatenate([own * share for own, share in zip(within, datasets / datasets.sum(), strict=True)])


def _target_order(
    sizes: Sequence[int], weights: Sequence[float], seed: int, shares: Sequence[np.ndarray]
) -> grain.MapDataset[int]:
    """Orders targets so that each clip comes once per epoch; with weights, once per epoch of its dataset.

    With `shares` of the clips of every dataset, targets are drawn independently.
    """
    if shares:
        edges = np.cumsum([0, *sizes]).tolist()
        drawn = [
            _BalancedOrder(first, each, (seed, number))
            for number, (first, each) in enumerate(zip(edges, shares, strict=False))
        ]
        return grain.MapDataset.mix([grain.MapDataset.source(order) for order in drawn], weights or sizes)
    if not weights:
        return grain.MapDataset.source(_EpochOrder(0, sum(sizes), (seed, 0)))
    edges = np.cumsum([0, *sizes]).tolist()
    orders = [
        _EpochOrder(first, size, (seed, number))
        for number, (first, size) in enumerate(zip(edges, sizes, strict=False))
    ]
    return grain.MapDataset.mix([grain.MapDataset.source(order) for order in orders], weights)
