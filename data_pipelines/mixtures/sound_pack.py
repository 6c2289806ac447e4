"""A pack: clips as Opus with their table, their captions' conditions and validation mixtures, in one file.

The file is a safetensors file: it is mapped when read, its offsets are checked by the library, nothing in it
is executed, and this project depends on it anyway. It is not compressed again.
"""

import dataclasses
import itertools
import json
import os
import zlib
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import numpy as np

from audiosep_jax.errors import DatasetError, shown
from audiosep_jax.utils import safetensors_file
from audiosep_jax.utils.atomic import replacing
from data_pipelines.mixtures.clip_index import Clip
from data_pipelines.mixtures.opus import decode_opus

FORMAT = "audiosep_jax pack 1"
_ADVICE = "make the pack again"
_CLIP_FIELDS = ("id", "source", "samples", "active")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackedMixtures:
    """Validation mixtures of two sounds each, at 0 dB.

    Attributes:
      groups: name of each mixture's dataset.
      captions: query of each mixture.
      conditions: float16 `[mixtures, size]`.
      samples: length of each mixture.
    """

    groups: tuple[str, ...]
    captions: tuple[str, ...]
    conditions: np.ndarray
    samples: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoundPack:
    """The content of a pack; the sound stays compressed.

    Attributes:
      sample_rate_hz: of the decoded sound.
      encoder: name of the query encoder of the conditions.
      datasets: names of the datasets, such as "data/esc10:fold1+fold2".
      clips: of each dataset.
      conditions: float16 `[captions, size]`, in the order of the sorted captions, as in `ClipTable.captions`.
      validation: the mixtures to measure; their sounds come after those of the clips.
      opus: the sounds, each an Ogg file.
    """

    sample_rate_hz: int
    encoder: str
    datasets: tuple[str, ...]
    clips: tuple[tuple[Clip, ...], ...]
    conditions: np.ndarray
    validation: PackedMixtures
    opus: Sequence[bytes | np.ndarray]

    @property
    def count(self) -> int:
        """Number of clips."""
        return sum(map(len, self.clips))

    def seconds(self) -> float:
        """Returns the length of all clips."""
        return sum(clip.samples for clips in self.clips for clip in clips) / self.sample_rate_hz

    def decode_clips(self, *, threads: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Returns all clips one after the other, int16 `[samples]`, and where each begins, `[clips + 1]`.

        With 0 threads, as many decode as there are cores.

        Raises:
          DatasetError: a sound is damaged.
        """
        lengths = [clip.samples for clips in self.clips for clip in clips]
        return self._decode(range(self.count), lengths, threads)

    def decode_validation(self, *, threads: int = 0) -> np.ndarray:
        """Returns the sounds of the validation mixtures, int16 `[mixtures, 2, samples]`, the target first.

        Raises:
          DatasetError: a sound is damaged.
        """
        mixtures, samples = len(self.validation.groups), self.validation.samples
        numbers = range(self.count, self.count + 2 * mixtures)
        return self._decode(numbers, [samples] * len(numbers), threads)[0].reshape(mixtures, 2, samples)

    def _decode(
        self, numbers: Sequence[int], lengths: Sequence[int], threads: int
    ) -> tuple[np.ndarray, np.ndarray]:
        begins = np.cumsum([0, *lengths])
        sound = np.empty(begins[-1], np.int16)

        def one(place: int) -> None:
            decoded = decode_opus(
                bytes(self.opus[numbers[place]]), sample_rate_hz=self.sample_rate_hz, samples=lengths[place]
            )
            sound[begins[place] : begins[place + 1]] = to_int16(decoded)

        with futures.ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            for _ in pool.map(one, range(len(numbers))):
                pass
        return sound, begins


def to_int16(sound: np.ndarray) -> np.ndarray:
    """Returns float samples in [-1, 1) as int16, rounded and clipped."""
    return np.clip(np.rint(sound * 32768), -32768, 32767).astype(np.int16)


def write(path: str | Path, pack: SoundPack) -> None:
    """Writes a pack, whole or not at all.

    Raises:
      StorageError: the file cannot be written.
    """
    tensors = _tensors(pack)
    metadata = {"format": FORMAT, "sample_rate_hz": str(pack.sample_rate_hz), "encoder": pack.encoder}
    with replacing(path, advice="make room, and pack again") as temporary:
        safetensors_file.write(temporary, tensors, metadata=metadata)


def size_without_sound(pack: SoundPack) -> int:
    """Returns the bytes of a pack's file except its sounds; a few kilobytes too many."""
    tensors = _tensors(pack)
    return 4096 + sum(tensor.nbytes for name, tensor in tensors.items() if name != "sound")


def read(path: str | Path) -> SoundPack:
    """Reads a pack; the sound stays in the mapped file.

    Raises:
      DatasetError: the file is missing, damaged, or no pack.
    """
    file = safetensors_file.TensorFile(path, kind=DatasetError, advice=_ADVICE)
    if file.metadata.get("format") != FORMAT:
        raise DatasetError(
            f"{path} is not a pack of this version ({shown(repr(file.metadata.get('format')))}): make one "
            "with `python -m experiments.open_gpu pack`."
        )
    try:
        table: dict[str, Any] = json.loads(zlib.decompress(file["table"].tobytes()))
        captions, labels = table["captions"], table["labels"]
        clips = tuple(
            tuple(
                Clip(
                    **{name: row[name] for name in ("id", "source", "samples")},
                    active=tuple(row["active"]),
                    label=labels[row["label"]],
                    captions=tuple(captions[number] for number in row["captions"]),
                    labels=tuple(labels[number] for number in row["labels"]),
                )
                for row in rows
            )
            for rows in table["clips"]
        )
        edges = [0, *file["ends"].tolist()]
        validation = PackedMixtures(
            groups=tuple(table["validation"]["groups"]),
            captions=tuple(table["validation"]["captions"]),
            samples=table["validation"]["samples"],
            conditions=file["validation_conditions"],
        )
        pack = SoundPack(
            sample_rate_hz=int(file.metadata["sample_rate_hz"]),
            encoder=file.metadata["encoder"],
            datasets=tuple(table["datasets"]),
            clips=clips,
            conditions=file["conditions"],
            validation=validation,
            opus=[file["sound"][begin:end] for begin, end in itertools.pairwise(edges)],
        )
    except (KeyError, ValueError, TypeError, IndexError, zlib.error) as error:
        raise DatasetError(f"{path} is damaged ({shown(error)}): {_ADVICE}.") from error
    if len(pack.opus) != pack.count + 2 * len(validation.groups) or len(pack.conditions) != len(captions):
        raise DatasetError(f"{path} is damaged: its table and its sounds differ in number; {_ADVICE}.")
    return pack


def _tensors(pack: SoundPack) -> dict[str, np.ndarray]:
    every = [clip for clips in pack.clips for clip in clips]
    captions = sorted({caption for clip in every for caption in clip.captions})
    labels = sorted({label for clip in every for label in (clip.label, *clip.labels)})
    numbers = {name: number for number, name in enumerate(captions)}
    places = {name: number for number, name in enumerate(labels)}
    table = {
        "datasets": pack.datasets,
        "captions": captions,
        "labels": labels,
        "clips": [
            [
                {name: getattr(clip, name) for name in _CLIP_FIELDS}
                | {
                    "label": places[clip.label],
                    "captions": [numbers[caption] for caption in clip.captions],
                    "labels": [places[label] for label in clip.labels],
                }
                for clip in clips
            ]
            for clips in pack.clips
        ],
        "validation": {
            "groups": pack.validation.groups,
            "captions": pack.validation.captions,
            "samples": pack.validation.samples,
        },
    }
    compressed = zlib.compress(json.dumps(table, ensure_ascii=False).encode("utf-8", "surrogatepass"), 9)
    return {
        "sound": np.frombuffer(b"".join(bytes(each) for each in pack.opus), np.uint8),
        "ends": np.cumsum([len(each) for each in pack.opus], dtype=np.int64),
        "conditions": pack.conditions,
        "validation_conditions": pack.validation.conditions,
        "table": np.frombuffer(compressed, np.uint8),
    }
