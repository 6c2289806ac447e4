"""The tfds builder that all datasets share."""

import abc
import collections
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path
from typing import TypeVar

import tensorflow_datasets as tfds

from audiosep_jax.errors import AudioSepError
from data_pipelines import clips, records, report

SAMPLE_RATE_HZ = 32_000

MAX_SAMPLE_RATE_HZ = 655_350
"""What FLAC can store."""

_SPLIT_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")

T = TypeVar("T")
R = TypeVar("R")


class ClipBuilder(tfds.core.GeneratorBasedBuilder, abc.ABC, skip_registration=True):
    """Prepares clips as ArrayRecord. A dataset is a subclass that lists its rows.

    Args:
      source: folder of the sound files.
      sample_rate_hz: rate of the stored sound.
      max_failed_share: largest share of unusable clips that a build accepts.
      expects_missing: a clip whose file is absent is reported as missing, and is none of the unusable.
      workers: threads that read and encode clips; the result does not depend on them.
      on_clip: called after each clip.
      data_dir: where tfds writes; the rest are `tfds.core.DatasetBuilder`'s arguments.
    """

    VERSION = tfds.core.Version("1.0.0")

    DESCRIPTION = ""
    """What the dataset is; the first line of the class's docstring where this is empty."""

    HOMEPAGE = ""
    CITATION = ""
    """BibTeX."""

    LICENCE = ""
    """Of the sounds and of what is said of them, in words."""

    def __init__(
        self,
        *,
        source: str | Path,
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        max_failed_share: float = 0.05,
        expects_missing: bool = False,
        workers: int | None = None,
        on_clip: Callable[[], None] | None = None,
        **kwargs,
    ):
        in_tens = sample_rate_hz > 65_535 and sample_rate_hz % 10
        if not 1 <= sample_rate_hz <= MAX_SAMPLE_RATE_HZ or in_tens:
            raise AudioSepError(
                f"The sample rate is {sample_rate_hz} Hz: FLAC stores 1 to {MAX_SAMPLE_RATE_HZ} Hz, above "
                "65535 Hz in multiples of 10."
            )
        if not 0 <= max_failed_share <= 1:
            raise AudioSepError(f"The largest failed share is {max_failed_share}: give a number in [0, 1].")
        self.source = Path(source)
        self.sample_rate_hz = sample_rate_hz
        self.max_failed_share = max_failed_share
        self.expects_missing = expects_missing
        self.skipped: list[report.SkippedClip] = []
        self.missing: list[str] = []
        self.prepared: collections.Counter[str] = collections.Counter()
        self._samples = self._uncaptioned = self._filmed = 0
        self._workers = workers or os.cpu_count() or 1
        self._on_clip = on_clip or (lambda: None)
        if not self.source.is_dir():
            raise AudioSepError(f"{self.source} is not a folder: give the folder that holds the sound files.")
        self.rows = sorted(self.read_rows(), key=lambda row: row.file)
        if not self.rows:
            raise AudioSepError(f"{self.source} names no clips: check its metadata.")
        for row in self.rows:
            _check_row(row, self.source)
        self._with_frames = any(row.frames for row in self.rows)
        self._with_labels = any(row.labels for row in self.rows)
        super().__init__(file_format="array_record", **kwargs)

    @abc.abstractmethod
    def read_rows(self) -> Sequence[clips.ClipRow]:
        """Returns every clip of `self.source`, each file once."""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION or (type(self).__doc__ or "").split("\n", 1)[0],
            homepage=self.HOMEPAGE or None,
            citation=self.CITATION or None,
            license=self.LICENCE or None,
            features=clips.features(frames=self._with_frames, labels=self._with_labels),
            metadata=tfds.core.MetadataDict(sample_rate_hz=self.sample_rate_hz),
        )

    def _example_writer(self) -> records.RecordWriter:
        return records.RecordWriter()

    def _log_download_bytes(self) -> None:
        """Says nothing: the caller shows progress, and nothing is downloaded."""

    def _log_download_done(self) -> None:
        """Says nothing: the folder that tfds would announce is moved to its place afterwards."""

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing is downloaded
        return {split: self._generate_examples(split) for split in sorted({row.split for row in self.rows})}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, object]]]:
        rows = [row for row in self.rows if row.split == split]
        with futures.ThreadPoolExecutor(self._workers) as pool:
            for row, example in zip(rows, _ahead(pool, self._encode, rows, 2 * self._workers), strict=True):
                self._on_clip()
                if isinstance(example, AudioSepError):
                    self._skip(row, example)
                else:
                    self.prepared[split] += 1
                    self._samples += example.samples
                    self._uncaptioned += not example.captions
                    self._filmed += bool(example.frames)
                    yield row.file, self._stored(example)
        if not self.prepared[split]:
            raise AudioSepError(
                f"{self.source}: no clip of the split {split!r} can be used, so there is nothing to write. "
                + (
                    f"The first failure: {self.skipped[-1].reason}"
                    if self.skipped
                    else "None of its files is there."
                )
            )

    def _encode(self, row: clips.ClipRow) -> clips.Example | AudioSepError:
        try:
            return clips.encode_clip(self.source, row, sample_rate_hz=self.sample_rate_hz)
        except AudioSepError as error:
            return error

    def _stored(self, example: clips.Example) -> dict[str, object]:
        stored = dict(vars(example))
        if not self._with_frames:
            del stored["frames"]
        if not self._with_labels:
            del stored["labels"]
        return stored

    def _skip(self, row: clips.ClipRow, error: AudioSepError) -> None:
        if self.expects_missing and not (self.source / row.file).exists():
            self.missing.append(row.file)
        else:
            self.skipped.append(report.SkippedClip(row.file, str(error)))
        report.check_failures(
            self.skipped,
            total=len(self.rows) - len(self.missing),
            max_failed_share=self.max_failed_share,
            source=self.source,
        )

    def report(self) -> report.BuildReport:
        """Returns what came of the build."""
        return report.BuildReport(
            dataset=self.name,
            source=str(self.source),
            sample_rate_hz=self.sample_rate_hz,
            prepared=dict(self.prepared),
            seconds=round(self._samples / self.sample_rate_hz, 3),
            uncaptioned=self._uncaptioned,
            with_frames=self._filmed,
            skipped=tuple(self.skipped),
            missing=tuple(self.missing),
        )


def _check_row(row: clips.ClipRow, source: Path) -> None:
    for text in (row.file, row.label, row.source, *row.captions, *row.frames, *row.labels):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise AudioSepError(
                f"{source}: the clip {row.file!r} has the text {text!r}, which is not valid Unicode: correct "
                "its line."
            ) from None
    if row.split.lower() == "all" or not _SPLIT_NAME.fullmatch(row.split):
        raise AudioSepError(
            f"{source}: the clip {row.file!r} has the split {row.split!r}: a name of letters, digits, '_', "
            "'.' and '-' that starts with a letter or digit and is not 'all' is needed."
        )


def _ahead(
    pool: futures.Executor, function: Callable[[T], R], items: Sequence[T], window: int
) -> Iterator[R]:
    """Maps in order with at most `window` results waiting, where `Executor.map` would hold them all."""
    waiting: collections.deque[futures.Future[R]] = collections.deque()
    try:
        for item in items:
            if len(waiting) == window:
                yield waiting.popleft().result()
            waiting.append(pool.submit(function, item))
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
