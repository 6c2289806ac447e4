"""The tfds builder that all datasets share."""

import abc
import functools
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
import tensorflow_datasets as tfds

from audiosep_jax.errors import AudioSepError, DatasetError, UsageError
from data_pipelines.mixtures import clips, records
from data_pipelines.prepare import encoding, shards, video

SAMPLE_RATE_HZ = 32_000

MAX_SAMPLE_RATE_HZ = 655_350
"""The highest rate that FLAC can store."""

_SPLIT_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")

_FORMAT = 1
"""Version of records and shards: after a change, unfinished builds start anew."""

_log = logging.getLogger(__name__)


class ClipBuilder(tfds.core.ShardBasedBuilder, abc.ABC, skip_registration=True):
    """Prepares clips as ArrayRecord. A dataset is a subclass that lists its rows.

    Args:
      source: folder of the sound files.
      sample_rate_hz: rate of the stored sound.
      max_failed_share: largest share of unusable clips that a build accepts.
      expects_missing: a clip whose file is absent is reported as missing and does not count as unusable.
      workers: threads that read and encode clips; the result does not depend on them.
      clips_per_shard: rows of one record file, the most that an interruption can lose; None chooses.
      on_clip: called after each clip.
      data_dir: where tfds writes; the rest are `tfds.core.DatasetBuilder`'s arguments.

    Raises:
      UsageError: an argument is out of range.
      DatasetError: the source folder or a row of its table is unusable.
      MissingPackageError: a clip needs PyAV, which is not installed.
    """

    VERSION = tfds.core.Version("1.0.0")

    DESCRIPTION = ""
    """Describes the dataset; if empty, the first line of the class's docstring does."""

    HOMEPAGE = ""
    CITATION = ""
    """BibTeX."""

    LICENCE = ""
    """Licence of the sounds and of their metadata, in words."""

    def __init__(
        self,
        *,
        source: str | Path,
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        max_failed_share: float = 0.05,
        expects_missing: bool = False,
        workers: int | None = None,
        clips_per_shard: int | None = None,
        on_clip: Callable[[], None] | None = None,
        **kwargs,
    ):
        in_tens = sample_rate_hz > 65_535 and sample_rate_hz % 10
        if not 1 <= sample_rate_hz <= MAX_SAMPLE_RATE_HZ or in_tens:
            raise UsageError(
                f"The sample rate is {sample_rate_hz} Hz: FLAC stores 1 to {MAX_SAMPLE_RATE_HZ} Hz, above "
                "65535 Hz in multiples of 10."
            )
        if not 0 <= max_failed_share <= 1:
            raise UsageError(f"The largest failed share is {max_failed_share}: give a number in [0, 1].")
        for name, count in (("workers", workers), ("clips per shard", clips_per_shard)):
            if count is not None and count < 1:
                raise UsageError(f"The number of {name} is {count}: give 1 or more.")
        self.source = Path(source)
        self.sample_rate_hz = sample_rate_hz
        self.max_failed_share = max_failed_share
        self.expects_missing = expects_missing
        self.workers = workers or len(os.sched_getaffinity(0))
        self.on_clip = on_clip or (lambda: None)
        if not self.source.is_dir():
            raise DatasetError(f"{self.source} is not a folder: give the folder that holds the sound files.")
        self.rows = sorted(self.read_rows(), key=lambda row: row.file)
        if not self.rows:
            raise DatasetError(f"{self.source} has a table without clips: check the table.")
        for row in self.rows:
            _check_row(row, self.source)
        self.shards = shards.plan(self.rows, clips_per_shard=clips_per_shard)
        video.check_installed(self.source / row.file for row in self.rows)
        self.recorder = encoding.Recorder(
            encoder=self.encoder(),
            frames=any(row.frames for row in self.rows),
            labels=any(row.labels for row in self.rows),
        )
        super().__init__(file_format="array_record", **kwargs)

    @abc.abstractmethod
    def read_rows(self) -> Sequence[clips.ClipRow]:
        """Returns every clip of `self.source`, each file once."""

    def encoder(self) -> encoding.MediaEncoder:
        """Returns the reader of the clips; see `MediaEncoder` for when a dataset needs its own."""
        return encoding.MediaEncoder(self.source, self.sample_rate_hz)

    def write_files(self, folder: Path) -> None:
        """Writes what a dataset's folder holds beside its records; nothing by default."""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION or (type(self).__doc__ or "").split("\n", 1)[0],
            homepage=self.HOMEPAGE or None,
            citation=self.CITATION or None,
            license=self.LICENCE or None,
            features=clips.features(frames=self.recorder.frames, labels=self.recorder.labels),
            metadata=tfds.core.MetadataDict(sample_rate_hz=self.sample_rate_hz),
        )

    def _example_writer(self) -> records.RecordWriter:
        return records.RecordWriter()

    def _log_download_bytes(self) -> None:
        """Logs nothing: the caller shows progress, and nothing is downloaded."""

    def _log_download_done(self) -> None:
        """Logs nothing: the folder that tfds would name is moved to its place afterwards."""

    def _shard_iterators_per_split(self, dl_manager):
        # Called by tfds's own `download_and_prepare`; `data_pipelines.prepare.build` does not use it.
        del dl_manager  # nothing is downloaded
        splits: dict[str, list[Callable[[], Iterator[tuple[str, dict[str, object]]]]]] = {}
        for shard in self.shards:
            splits.setdefault(shard.split, []).append(functools.partial(self._examples, shard))
        return splits

    def _examples(self, shard: shards.Shard) -> Iterator[tuple[str, dict[str, object]]]:
        for row in shard.rows:
            try:
                yield row.file, self.recorder.stored(self.recorder.encoder(row))
            except AudioSepError as error:
                if not self.max_failed_share:
                    raise
                _log.warning("left out: %s", error)

    def fingerprint(self) -> str:
        """Returns a hash of everything that the records depend on, except the content of the sound files.

        Options that change only the speed, or whether a build succeeds, are not in it: an interrupted build
        can be resumed with other values.
        """
        libraries = (soundfile.__libsndfile_version__, soxr.__version__, np.__version__)
        whole = hashlib.sha256(repr((_FORMAT, self.name, self.recorder, libraries)).encode())
        for shard in self.shards:
            whole.update(f"{shard.name} {len(shard.rows)}\n".encode())
            for row in shard.rows:
                whole.update(repr(row).encode())
        return whole.hexdigest()


def _check_row(row: clips.ClipRow, source: Path) -> None:
    for text in (row.file, row.label, row.source, *row.captions, *row.frames, *row.labels):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DatasetError(
                f"{source}: the clip {row.file!r} has the text {text!r}, which is not valid Unicode: correct "
                "its line in the table."
            ) from None
    if row.split.lower() == "all" or not _SPLIT_NAME.fullmatch(row.split):
        raise DatasetError(
            f"{source}: the clip {row.file!r} has the split {row.split!r}: give a name of letters, digits, "
            "'_', '.' and '-' that starts with a letter or digit and is not 'all'."
        )
