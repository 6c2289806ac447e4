"""A pack from prepared datasets: cuts clips, encodes them, and limits the labels with the most sound."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from audiosep_jax.config import DataConfig, MixtureConfig
from audiosep_jax.errors import ConfigError, DatasetError
from audiosep_jax.utils.threads import map_ahead
from data_pipelines.mixtures.clip_index import Clip, ClipStore, folder_of
from data_pipelines.mixtures.clip_table import ClipTable
from data_pipelines.mixtures.clips import decode_flac
from data_pipelines.mixtures.conditions import Conditions, QueryTable
from data_pipelines.mixtures.opus import HIGHEST_KILOBITS, LOWEST_KILOBITS, encode_opus
from data_pipelines.mixtures.pipeline import MixturePipeline
from data_pipelines.mixtures.sound_pack import PackedMixtures, SoundPack, size_without_sound
from data_pipelines.mixtures.supervision import Supervision

VALIDATION_SECONDS = 5.0
_SHUFFLE_SEED = 0
_ROUNDS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackOptions:
    """What goes into a pack.

    Attributes:
      megabytes: largest size of the file, in 10⁶ bytes.
      kilobits: of Opus, a second.
      clip_seconds: longer clips are cut to this, from their first active sample on; 0 cuts none.
      validation_mixtures: in all, the same number of every validation dataset.
      threads: that encode; 0 for one per core.
    """

    megabytes: float = 50.0
    kilobits: float = 24.0
    clip_seconds: float = 5.0
    validation_mixtures: int = 128
    threads: int = 0

    def __post_init__(self) -> None:
        if not LOWEST_KILOBITS <= self.kilobits <= HIGHEST_KILOBITS:
            raise ConfigError(
                f"kilobits is {self.kilobits:g}: Opus takes {LOWEST_KILOBITS} to {HIGHEST_KILOBITS} a second."
            )
        if self.megabytes <= 0 or self.clip_seconds < 0 or self.validation_mixtures < 1:
            raise ConfigError(
                f"megabytes is {self.megabytes:g}, clip_seconds {self.clip_seconds:g}, validation_mixtures "
                f"{self.validation_mixtures}: give a positive size, no negative length, and some mixtures."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackReport:
    """What a pack holds of its datasets.

    Attributes:
      clips, all_clips: number of clips in the pack, and in the datasets.
      seconds, all_seconds: length of their sound.
      label_seconds: limit of each label's sound; infinite if nothing was left out.
      limited_labels: labels that reached it.
      kilobits: of the packed clips, a second, with the container.
    """

    clips: int
    all_clips: int
    seconds: float
    all_seconds: float
    label_seconds: float
    limited_labels: int
    kilobits: float


def build(
    datasets: Sequence[str],
    validation: Sequence[str],
    *,
    conditions: Conditions,
    encoder: str,
    sample_rate_hz: int,
    options: PackOptions = PackOptions(),
    say: Callable[[str], None] = lambda line: None,
) -> tuple[SoundPack, PackReport]:
    """Returns a pack of at most `options.megabytes`.

    If not all sound fits, every label is limited to the same length: abundant labels lose clips, rare ones
    keep all. Which clips stay is a fixed random choice.

    Args:
      datasets: folders that `audiosep prepare` wrote, "PATH" or "PATH:SPLIT+SPLIT".
      validation: the same, for the mixtures to measure.
      conditions: of captions.
      encoder: name of the query encoder that computes them.
      sample_rate_hz: of the datasets and the model.
      options: the size, and how it is reached.
      say: gets a line about the progress.

    Raises:
      ConfigError: an option or a list of datasets cannot be used.
      DatasetError: a dataset cannot be used, a clip has no caption, or the validation alone is too large.
    """
    if not datasets or not validation:
        raise ConfigError("A pack needs datasets to train on and datasets to validate on: give both.")
    stores = [_opened(entry, sample_rate_hz) for entry in datasets]
    numbered = [(number, place) for number, store in enumerate(stores) for place in range(len(store))]
    clips = [_cut(stores[number].clips[place], options, sample_rate_hz) for number, place in numbered]
    mixtures, sounds = _validation(validation, conditions, sample_rate_hz, options)
    say(f"encoding {len(sounds)} sounds of {len(mixtures.groups)} validation mixtures")

    def encoded(sound: np.ndarray) -> bytes:
        return encode_opus(sound, sample_rate_hz=sample_rate_hz, kilobits=options.kilobits)

    def encode_clip(index: int) -> bytes:
        (number, place), (clip, first) = numbered[index], clips[index]
        sound = np.zeros(clip.samples, np.float32)
        decode_flac(stores[number].flac(place), sound, start=first)
        return encoded(sound)

    workers = options.threads or os.cpu_count() or 1
    held = list(map_ahead(encoded, sounds, workers=workers))
    names = tuple(_public(entry) for entry in datasets)
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(len(clips)).tolist()
    seconds = np.array([clip.samples / sample_rate_hz for clip, _ in clips])

    def assembled(chosen: Sequence[int], opus: dict[int, bytes]) -> SoundPack:
        split = [[index for index in sorted(chosen) if numbered[index][0] == n] for n in range(len(stores))]
        parts = tuple(tuple(clips[index][0] for index in part) for part in split)
        table = ClipTable(parts)
        queries = QueryTable(table, conditions, Supervision(), lambda _: ())
        return SoundPack(
            sample_rate_hz=sample_rate_hz,
            encoder=encoder,
            datasets=names,
            clips=parts,
            conditions=queries.caption_conditions.astype(np.float16),
            validation=mixtures,
            opus=[*(opus.get(index, b"") for part in split for index in part), *held],
        )

    everything = range(len(clips))
    # Measured with all clips, so the table of fewer clips is never larger.
    budget = options.megabytes * 1e6 - size_without_sound(assembled(everything, {})) - sum(map(len, held))
    if budget <= 0:
        raise DatasetError(
            f"The table and the validation alone exceed {options.megabytes:g} MB: pack fewer validation "
            "mixtures or datasets."
        )
    opus: dict[int, bytes] = {}
    sizes = seconds * options.kilobits * 125
    chosen, limit = _chosen([clip for clip, _ in clips], seconds, sizes, order, budget)
    for _ in range(_ROUNDS):
        missing = [index for index in chosen if index not in opus]
        say(f"encoding {len(missing)} of {len(clips)} clips")
        opus.update(zip(missing, map_ahead(encode_clip, missing, workers=workers), strict=True))
        known = list(opus)
        for index in known:
            sizes[index] = len(opus[index])
        others = np.setdiff1d(np.arange(len(clips)), known)
        sizes[others] = seconds[others] * sizes[known].sum() / seconds[known].sum()
        chosen, limit = _chosen([clip for clip, _ in clips], seconds, sizes, order, budget)
        if all(index in opus for index in chosen):
            break
    else:
        chosen = [index for index in chosen if index in opus]
    pack = assembled(chosen, opus)
    taken = float(seconds[chosen].sum())
    report = PackReport(
        clips=len(chosen),
        all_clips=len(clips),
        seconds=taken,
        all_seconds=sum(clip.samples for store in stores for clip in store.clips) / sample_rate_hz,
        label_seconds=limit,
        limited_labels=len({_label(clips[i][0]) for i in set(everything) - set(chosen)}),
        kilobits=sum(len(opus[index]) for index in chosen) / 125 / taken,
    )
    return pack, report


def _opened(entry: str, sample_rate_hz: int) -> ClipStore:
    store = ClipStore(entry)
    if store.sample_rate_hz != sample_rate_hz:
        raise DatasetError(
            f"{store.folder} is stored at {store.sample_rate_hz} Hz, the model works at {sample_rate_hz} Hz: "
            f"prepare it with --sample-rate-hz {sample_rate_hz}."
        )
    for clip in store.clips:
        if not clip.captions:
            raise DatasetError(
                f"{store.folder}, clip {clip.id} has no caption, and a pack holds conditions of captions "
                "only: prepare it with captions."
            )
    return store


def _cut(clip: Clip, options: PackOptions, rate: int) -> tuple[Clip, int]:
    """Returns a clip of at most `clip_seconds`, and its first sample in the stored one."""
    longest = round(options.clip_seconds * rate) or clip.samples
    if clip.samples <= longest:
        return clip, 0
    first = min(clip.active[0], clip.samples - longest)
    active = (clip.active[0] - first, min(clip.active[1] - first, longest))
    return dataclasses.replace(clip, samples=longest, active=active), first


def _validation(
    entries: Sequence[str], conditions: Conditions, rate: int, options: PackOptions
) -> tuple[PackedMixtures, list[np.ndarray]]:
    """Draws the mixtures that `audiosep train` would validate on, from each dataset alone."""
    each = -(-options.validation_mixtures // len(entries))
    batches = [
        next(
            iter(
                MixturePipeline(
                    DataConfig(datasets=(entry,)),
                    MixtureConfig(gain_range_db=(0, 0), segment_seconds=VALIDATION_SECONDS),
                    sample_rate_hz=rate,
                    batch_size=each,
                    conditions=conditions,
                ).batches(stop_step=1)
            )
        )
        for entry in entries
    ]
    mixtures = PackedMixtures(
        groups=tuple(Path(folder_of(entry)[0]).name for entry in entries for _ in range(each)),
        captions=tuple(caption for batch in batches for caption in batch.captions),
        conditions=np.concatenate([batch.condition for batch in batches]).astype(np.float16),
        samples=round(VALIDATION_SECONDS * rate),
    )
    return mixtures, [sound for batch in batches for pair in batch.segments for sound in pair]


def _chosen(
    clips: Sequence[Clip], seconds: np.ndarray, sizes: np.ndarray, order: Sequence[int], budget: float
) -> tuple[list[int], float]:
    """Returns the clips that fit if every label has the same limit in seconds, and that limit.

    The first clip of a label always counts, whatever its length.
    """
    before: dict[str, float] = {}
    reached = np.zeros(len(clips))
    for index in order:
        label = _label(clips[index])
        reached[index] = before.get(label, 0.0)
        before[label] = reached[index] + seconds[index]
    # A clip is in if its label has less than the limit before it.
    by_need = sorted(order, key=lambda index: reached[index])
    fitting = int(np.searchsorted(np.cumsum(sizes[by_need]), budget, "right"))
    if fitting == 0:
        raise DatasetError("Not one clip fits into the pack: give more megabytes.")
    if fitting == len(clips):
        return list(range(len(clips))), float("inf")
    return sorted(by_need[:fitting]), float(reached[by_need[fitting]])


def _label(clip: Clip) -> str:
    return clip.label or f"clip {clip.id}"


def _public(entry: str) -> str:
    """Returns an entry without the folders of this machine, as checkpoints name it."""
    folder, splits = folder_of(entry)
    return f"data/{folder.name}" + (f":{splits}" if splits else "")
