"""Reads a prepared dataset: the metadata of all clips at once, the compressed sound of one at a time."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource

from audiosep_jax.errors import DatasetError, listed
from data_pipelines.mixtures import records
from data_pipelines.mixtures.clips import Example, frames_digest

OVERLAPS = "overlapping_labels.json"
"""File of a dataset that lists, for each label, the labels of the same or an overlapping sound."""

_TEXTS = ("id", "label", "captions", "source", "labels")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """The metadata of a stored clip: fields of `Example`, with a digest of its images, "" for none.

    `also` are the labels that overlap with the clip's own, which `OVERLAPS` lists.
    """

    id: str
    label: str
    captions: tuple[str, ...]
    source: str
    samples: int
    active: tuple[int, int]
    frames: str = ""
    labels: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


class ClipStore:
    """The clips of one prepared dataset, "PATH", or of some splits, "PATH:SPLIT+SPLIT", in record order.

    Raises:
      DatasetError: the folder is not a prepared dataset, lacks a split, or is damaged.
    """

    def __init__(self, entry: str):
        self.folder, wanted = folder_of(entry)
        info = _load_info(self.folder)
        names = sorted(info.splits)
        splits = wanted.split("+") if wanted else names
        missing = [name for name in splits if name not in names]
        if missing:
            raise DatasetError(
                f"{self.folder} has no split {listed(map(repr, missing))}: choose from {listed(names)}."
            )
        self.sample_rate_hz = _sample_rate_hz(info, self.folder)
        try:
            self._records = ArrayRecordDataSource([file for name in splits for file in _files(info, name)])
            clips = [clip for name in splits for clip in _load_clips(self.folder, name, info)]
            self.clips = _with_overlaps(self.folder, clips)
        except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
            raise DatasetError(f"{self.folder} is damaged ({error}): prepare it again.") from error
        if len(self.clips) != len(self._records):
            raise DatasetError(
                f"{self.folder} is damaged: its index has {len(self.clips)} clips, its records have "
                f"{len(self._records)}; prepare it again."
            )

    def __len__(self) -> int:
        return len(self.clips)

    def flac(self, index: int) -> bytes:
        """Returns the FLAC file of one clip; a damaged record is an error."""
        return self._record(index)["audio"].bytes_list.value[0]

    def frames(self, index: int) -> list[bytes]:
        """Returns the image files of one clip's video; a damaged record is an error."""
        record = self._record(index)
        return list(record["frames"].bytes_list.value) if "frames" in record else []

    def _record(self, index: int) -> Mapping[str, Any]:
        try:
            record = self._records[index]
        except RuntimeError as error:
            raise DatasetError(f"The record is damaged ({error}): prepare the dataset again.") from error
        return records.parse(record)


def clip_of(example: Example) -> Clip:
    """Returns the index's entry of an example."""
    return Clip(
        id=example.id,
        label=example.label,
        captions=example.captions,
        source=example.source,
        samples=example.samples,
        active=(int(example.active[0]), int(example.active[1])),
        frames=frames_digest(example.frames),
        labels=example.labels,
    )


def index_line(clip: Clip) -> str:
    """Returns the line of a clip in `clips-<split>.jsonl`, which lists a split in record order."""
    fields = dataclasses.asdict(clip)
    for name in ("frames", "labels", "also"):
        if not fields[name]:
            del fields[name]  # as in datasets that are older than these fields
    return json.dumps(fields, ensure_ascii=False)


def index_path(folder: Path, split: str) -> Path:
    """Returns the path of a split's index."""
    return folder / f"clips-{split}.jsonl"


def read(folder: Path, split: str) -> Iterator[Clip]:
    """Yields the clips of a split's index, in record order."""
    with index_path(folder, split).open(encoding="utf-8") as lines:
        for line in lines:
            fields: dict[str, Any] = json.loads(line)
            fields |= {name: tuple(v) for name, v in fields.items() if isinstance(v, list)}
            yield Clip(**fields)


def folder_of(entry: str) -> tuple[Path, str]:
    """Returns the folder and the splits of an entry; "" stands for all splits.

    >>> folder_of("data/esc50:fold1+fold2")
    (PosixPath('data/esc50'), 'fold1+fold2')
    """
    folder, colon, wanted = entry.rpartition(":")
    return (Path(folder), wanted) if colon and "/" not in wanted else (Path(entry), "")


def _load_info(folder: Path) -> tfds.core.DatasetInfo:
    if not (folder / "dataset_info.json").is_file():
        raise DatasetError(
            f"{folder} is not a prepared dataset (it has no dataset_info.json): run `audiosep prepare` first."
        )
    try:
        return tfds.builder_from_directory(folder).info
    except Exception as error:  # tfds raises the errors of its JSON and protobuf readers
        raise DatasetError(f"{folder} is damaged ({error}): prepare it again.") from error


def _load_clips(folder: Path, split: str, info: tfds.core.DatasetInfo) -> list[Clip]:
    if index_path(folder, split).is_file():
        return list(read(folder, split))
    # A dataset that tfds itself prepared has no index; reading its records is slower.
    return list(_scan(info, split))


def _with_overlaps(folder: Path, clips: list[Clip]) -> list[Clip]:
    """Returns the clips with the labels that overlap with theirs."""
    try:
        text = (folder / OVERLAPS).read_text("utf-8")
    except FileNotFoundError:
        return clips
    also = {label: tuple(others) for label, others in json.loads(text).items()}
    return [dataclasses.replace(clip, also=also.get(clip.label, ())) for clip in clips]


def _sample_rate_hz(info: tfds.core.DatasetInfo, folder: Path) -> int:
    metadata = info.metadata
    if not isinstance(metadata, dict) or not isinstance(metadata.get("sample_rate_hz"), int):
        raise DatasetError(f"{folder} was not written by `audiosep prepare`: prepare it with that command.")
    return metadata["sample_rate_hz"]


def _files(info: tfds.core.DatasetInfo, split: str) -> list[str]:
    return [str(file) for file in info.splits[split].filepaths]


def _scan(info: tfds.core.DatasetInfo, split: str) -> Iterator[Clip]:
    for record in ArrayRecordDataSource(_files(info, split)):
        values = records.parse(record)
        content = {name: value.bytes_list.value for name, value in values.items()}
        texts = {name: tuple(map(bytes.decode, content.get(name, ()))) for name in _TEXTS}
        first, end = values["active"].int64_list.value
        yield Clip(
            id=texts["id"][0],
            label=texts["label"][0],
            captions=texts["captions"],
            source=texts["source"][0],
            samples=values["samples"].int64_list.value[0],
            active=(first, end),
            frames=frames_digest(content.get("frames", ())),
            labels=texts["labels"],
        )
