"""The tfds builder that all datasets share, and `prepare`, which runs one and leaves a whole dataset or nothing."""

import abc
import collections
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import tensorflow_datasets as tfds

from audiosep_jax.errors import AudioSepError
from data_pipelines import clip_index, clips, report

SAMPLE_RATE_HZ = 32_000


class ClipBuilder(tfds.core.GeneratorBasedBuilder, abc.ABC, skip_registration=True):
    """Prepares captioned clips as ArrayRecord. A dataset is a subclass that lists its rows.

    Args:
      source: folder of the sound files.
      sample_rate_hz: rate of the stored sound.
      max_failed_share: largest share of unusable clips that a build accepts.
      on_clip: called after each clip.
      data_dir: where tfds writes; the rest are `tfds.core.DatasetBuilder`'s arguments.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        source: str | Path,
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        max_failed_share: float = 0.05,
        on_clip: Callable[[], None] | None = None,
        **kwargs,
    ):
        self.source = Path(source)
        self.sample_rate_hz = sample_rate_hz
        self.max_failed_share = max_failed_share
        self.skipped: list[report.SkippedClip] = []
        self.prepared: collections.Counter[str] = collections.Counter()
        self._samples = 0
        self._on_clip = on_clip or (lambda: None)
        if not self.source.is_dir():
            raise AudioSepError(f"{self.source} is not a folder: give the folder that holds the sound files.")
        self.rows = sorted(self.read_rows(), key=lambda row: row.file)
        if not self.rows:
            raise AudioSepError(f"{self.source} names no clips: check its metadata.")
        super().__init__(file_format="array_record", **kwargs)

    @abc.abstractmethod
    def read_rows(self) -> Sequence[clips.ClipRow]:
        """Returns every clip of `self.source`, each file once."""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=(type(self).__doc__ or "").split("\n", 1)[0],
            features=clips.features(),
            metadata=tfds.core.MetadataDict(sample_rate_hz=self.sample_rate_hz),
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing is downloaded
        return {split: self._generate_examples(split) for split in sorted({row.split for row in self.rows})}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, object]]]:
        for row in self.rows:
            if row.split != split:
                continue
            try:
                example = clips.encode_clip(self.source, row, sample_rate_hz=self.sample_rate_hz)
            except AudioSepError as error:
                self.skipped.append(report.SkippedClip(row.file, str(error)))
                report.check_failures(
                    self.skipped,
                    total=len(self.rows),
                    max_failed_share=self.max_failed_share,
                    source=self.source,
                )
            else:
                self.prepared[split] += 1
                self._samples += int(example["samples"])  # type: ignore[call-overload]
                yield row.file, example
            self._on_clip()
        if not self.prepared[split]:
            raise AudioSepError(
                f"{self.source}: no clip of the split {split!r} can be used, so there is nothing to write. "
                f"The first failure: {self.skipped[0].reason}"
            )

    def report(self) -> report.BuildReport:
        """Returns what came of the build."""
        return report.BuildReport(
            dataset=self.name,
            source=str(self.source),
            sample_rate_hz=self.sample_rate_hz,
            prepared=dict(self.prepared),
            seconds=round(self._samples / self.sample_rate_hz, 3),
            skipped=tuple(self.skipped),
        )


def prepare(
    make_builder: Callable[[Path], ClipBuilder], out: str | Path, *, overwrite: bool = False
) -> report.BuildReport:
    """Builds a dataset into a folder that tfds and the mixture pipeline read.

    The folder holds `dataset_info.json`, `features.json`, the ArrayRecord files, one `clips-<split>.jsonl` index
    per split and `report.json`. It appears when it is complete and not before.

    Args:
      make_builder: gets the working folder (tfds's `data_dir`) and returns the builder to run.
      out: the dataset's folder.
      overwrite: replace what is at `out`.

    Raises:
      AudioSepError: `out` exists, the source is unusable, or too many clips failed.
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise AudioSepError(f"{out} exists already: remove it, choose another --out, or pass --overwrite.")
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        builder = make_builder(work)
        with _quiet_tfds():
            builder.download_and_prepare(
                download_dir=work / "downloads",
                download_config=tfds.download.DownloadConfig(try_download_gcs=False),
            )
        result = builder.report()
        folder = Path(builder.data_dir)
        result.write(folder)
        for split in builder.info.splits:
            clip_index.write(folder, split)
        if out.exists():
            os.replace(out, work / "replaced")
        os.replace(folder, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return result


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Hides tfds's own bars and its announcements: the caller shows progress."""
    tfds.disable_progress_bar()
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        tfds.enable_progress_bar()
