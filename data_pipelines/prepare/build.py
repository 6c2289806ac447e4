"""Runs a builder and leaves a whole dataset, or what the same command goes on with."""

import os
from collections.abc import Callable, Sequence
from concurrent import futures
from pathlib import Path

from audiosep_jax.errors import AudioSepError, DatasetError, StorageError
from data_pipelines.mixtures import clip_index
from data_pipelines.prepare import report, threads
from data_pipelines.prepare.assembly import assemble, make_report, second_name
from data_pipelines.prepare.builder import ClipBuilder
from data_pipelines.prepare.encoding import Failure, Recorded
from data_pipelines.prepare.shard_files import Finished, ShardFiles
from data_pipelines.prepare.shards import Shard
from data_pipelines.prepare.work_folder import WorkFolder

MakeShards = Callable[[ClipBuilder, Sequence[Shard], ShardFiles], None]
"""Makes shards with a builder's recorder, by other means than the threads of this process."""

AddFiles = Callable[[Path, Sequence[str]], Sequence[Path]]
"""Gets a folder that outlives an interruption, and the captions of a dataset; writes files there and returns
them. It is called again with the same after an interruption."""


def prepare(
    make_builder: Callable[[Path], ClipBuilder],
    out: str | Path,
    *,
    overwrite: bool = False,
    make_shards: MakeShards | None = None,
    on_resume: Callable[[int], None] | None = None,
    add_files: AddFiles | None = None,
) -> report.BuildReport:
    """Builds a dataset into a folder that tfds and the mixture pipeline read.

    The folder holds `dataset_info.json`, `features.json`, the ArrayRecord files, one `clips-<split>.jsonl`
    index per split and `report.json`. It appears when it is complete and not before.

    A build that is cut off, at any moment and in whatever way, leaves its finished record files in
    `.NAME.preparing` beside the folder NAME. The same call goes on with them and ends with the same bytes. A
    file is made again if one of its clips has changed since. Other rows or options use none of them.

    Args:
      make_builder: gets the working folder (tfds's `data_dir`) and returns the builder to run.
      out: the dataset's folder.
      overwrite: replace the dataset at `out`.
      make_shards: see there; None uses the threads of this process.
      on_resume: called before the work begins with the number of clips that an earlier call has finished.
      add_files: see there; what it returns lies in the dataset too.

    Raises:
      AudioSepError: something is at `out`, another process builds there, the source is unusable, or too many
        clips failed.
    """
    out = Path(os.path.abspath(out))
    work = WorkFolder(out)
    if not work.path.exists():
        _check_free(out, overwrite=overwrite)
    builder = make_builder(work.path)
    with work.held():
        fingerprint = builder.fingerprint()
        files = ShardFiles(work.path / fingerprint[:16])
        folder = files.folder / "dataset"
        if work.was_published(folder, fingerprint=fingerprint):
            found = report.read(out)
            work.remove()
            return found
        _check_free(out, overwrite=overwrite)
        files.sweep()
        done = _finished(builder, files)
        if on_resume:
            on_resume(sum(len(shard.rows) for shard in builder.shards if shard.name in done))
        todo = [shard for shard in builder.shards if shard.name not in done]
        try:
            if make_shards:
                make_shards(builder, todo, files)
            else:
                _make_shards(builder, todo, files, done)
            shards = [(shard, _read(files, shard)) for shard in builder.shards]
            outcome = make_report(builder, shards)
        except AudioSepError:
            _forget_failures(builder, files)
            raise
        try:
            assemble(builder, shards, files, folder)
            outcome.write(folder)
            if add_files:
                for path in add_files(files.folder / "added", _captions(builder, folder)):
                    second_name(path, folder / path.name)
            work.publish(folder, fingerprint=fingerprint)
        except OSError as error:
            raise StorageError(
                f"{out} cannot be written ({error.strerror or error}): make room, and give the same command "
                "again; it goes on where it stopped."
            ) from error
    return outcome


def _finished(builder: ClipBuilder, files: ShardFiles) -> dict[str, Finished]:
    """Returns the shards that an earlier call has finished, by name."""

    def look(shard: Shard) -> Finished | None:
        finished = files.read(shard)
        return finished if finished and files.is_current(shard, finished, builder.recorder) else None

    if not files.folder.exists():
        return {}
    with futures.ThreadPoolExecutor(builder.workers) as pool:
        found = zip(builder.shards, pool.map(look, builder.shards), strict=True)
        return {shard.name: finished for shard, finished in found if finished}


def _make_shards(
    builder: ClipBuilder, todo: Sequence[Shard], files: ShardFiles, done: dict[str, Finished]
) -> None:
    """Makes shards with the threads of this process, and stops as soon as too much has failed."""
    failures = report.Failures(
        builder.source, total=len(builder.rows), expects_missing=builder.expects_missing
    )
    for finished in done.values():
        for file, reason, absent in finished.failures:
            failures.add(file, reason, absent=absent)
    failures.check(builder.max_failed_share)

    def on_outcome(outcome: Recorded | Failure) -> None:
        builder.on_clip()
        if isinstance(outcome, Failure):
            failures.add(outcome.file, outcome.reason, absent=outcome.absent)
            failures.check(builder.max_failed_share)

    threads.build(builder.recorder, todo, files, workers=builder.workers, on_outcome=on_outcome)


def _captions(builder: ClipBuilder, folder: Path) -> list[str]:
    """Returns the captions of an assembled dataset, each once."""
    clips = (clip for split in builder.info.splits for clip in clip_index.read(folder, split))
    return sorted({caption for clip in clips for caption in clip.captions})


def _read(files: ShardFiles, shard: Shard) -> Finished:
    finished = files.read(shard)
    if finished is None:
        raise DatasetError(
            f"{files.records(shard)} was not written whole: give the same command again; it makes that file."
        )
    return finished


def _forget_failures(builder: ClipBuilder, files: ShardFiles) -> None:
    """Lets the next call try again what failed: not every repair shows in a file's size or time."""
    for shard in builder.shards:
        finished = files.read(shard)
        if finished and any(not absent for _, _, absent in finished.failures):
            files.forget(shard)


def _check_free(out: Path, *, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise StorageError(f"{out} exists already: remove it, choose another --out, or pass --overwrite.")
    if not (out / "dataset_info.json").is_file():
        raise StorageError(f"{out} is not a dataset, so it is not overwritten: choose another --out.")
