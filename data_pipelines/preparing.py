"""Runs a builder and leaves a whole dataset or nothing."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from audiosep_jax.errors import AudioSepError
from data_pipelines import clip_index
from data_pipelines.builder import ClipBuilder
from data_pipelines.report import BuildReport


def prepare(
    make_builder: Callable[[Path], ClipBuilder], out: str | Path, *, overwrite: bool = False
) -> BuildReport:
    """Builds a dataset into a folder that tfds and the mixture pipeline read.

    The folder holds `dataset_info.json`, `features.json`, the ArrayRecord files, one `clips-<split>.jsonl`
    index per split and `report.json`. It appears when it is complete and not before.

    Args:
      make_builder: gets the working folder (tfds's `data_dir`) and returns the builder to run.
      out: the dataset's folder.
      overwrite: replace the dataset at `out`.

    Raises:
      AudioSepError: something is at `out`, the source is unusable, or too many clips failed.
    """
    out = Path(out)
    _check_free(out, overwrite=overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise AudioSepError(f"{out} cannot be written ({error.strerror}): choose another --out.") from error
    try:
        builder = make_builder(work)
        with _without_tfds_bars():
            builder.download_and_prepare(
                download_dir=work / "downloads",
                download_config=tfds.download.DownloadConfig(try_download_gcs=False),
            )
        report = builder.report()
        folder = Path(builder.data_dir)
        report.write(folder)
        for split in builder.info.splits:
            clip_index.write(folder, split)
        _swap(folder, out, aside=work / "replaced")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return report


def _check_free(out: Path, *, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise AudioSepError(f"{out} exists already: remove it, choose another --out, or pass --overwrite.")
    if not (out / "dataset_info.json").is_file():
        raise AudioSepError(f"{out} is not a dataset, so it is not overwritten: choose another --out.")


def _swap(folder: Path, out: Path, *, aside: Path) -> None:
    if not out.exists():
        os.replace(folder, out)
        return
    os.replace(out, aside)
    try:
        os.replace(folder, out)
    except BaseException:
        os.replace(aside, out)
        raise


@contextlib.contextmanager
def _without_tfds_bars() -> Iterator[None]:
    tfds.disable_progress_bar()
    try:
        yield
    finally:
        tfds.enable_progress_bar()
