"""Builds a dataset: makes its shards, or reuses those of an interrupted build, and puts them together."""

import collections
import contextlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path

from etils import epath
from tensorflow_datasets.core import naming, splits

from audiosep_jax.errors import AudioSepError, DatasetError, StorageError
from audiosep_jax.utils.threads import map_ahead
from data_pipelines.mixtures import clip_index
from data_pipelines.prepare import report
from data_pipelines.prepare.builder import ClipBuilder
from data_pipelines.prepare.encoding import Failure, Recorded
from data_pipelines.prepare.shard_files import Finished, ShardFiles
from data_pipelines.prepare.shards import Shard
from data_pipelines.prepare.work_folder import WorkFolder

MakeShards = Callable[[ClipBuilder, Sequence[Shard], ShardFiles], None]
"""Makes shards with a builder's recorder, by other means than the threads of this process."""

AddFiles = Callable[[Path, Sequence[str]], Sequence[Path]]
"""Gets a folder that outlives an interruption, and the captions of a dataset; writes files there and returns
them. After an interruption it is called again with the same arguments."""


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
    index per split, `report.json` and what `ClipBuilder.write_files` adds. It appears when it is complete and
    not before.

    An interrupted build, even a killed one, leaves its finished record files in `.NAME.preparing` beside the
    folder NAME. The same call resumes from them and ends with the same bytes. It makes a record file again
    if one of its clips has changed since. With other rows or options it makes all of them again.

    Args:
      make_builder: gets the working folder (tfds's `data_dir`) and returns the builder to run.
      out: the dataset's folder.
      overwrite: replace the dataset at `out`.
      make_shards: see `MakeShards`; None uses the threads of this process.
      on_resume: called before the work begins with the number of clips that an earlier call has finished.
      add_files: see `AddFiles`; the dataset then holds these files too.

    Raises:
      StorageError: something is at `out`, another process builds there, or it cannot be written.
      DatasetError: the source is unusable, or too many clips failed.
      AudioSepError: as `make_shards` and `add_files`.
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
            outcome = _make_report(builder, shards)
        except AudioSepError:
            _forget_failures(builder, files)
            raise
        try:
            _assemble(builder, shards, files, folder)
            outcome.write(folder)
            builder.write_files(folder)
            if add_files:
                for path in add_files(files.folder / "added", _captions(builder, folder)):
                    _link(path, folder / path.name)
            work.publish(folder, fingerprint=fingerprint)
        except OSError as error:
            raise StorageError(
                f"{out} cannot be written ({error.strerror or error}): make room, then give the same command "
                "again to resume."
            ) from error
    return outcome


def _check_free(out: Path, *, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise StorageError(f"{out} exists already: remove it, choose another --out, or pass --overwrite.")
    if not (out / "dataset_info.json").is_file():
        raise StorageError(f"{out} is not a dataset, so it is not overwritten: choose another --out.")


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
    """Makes shards one after the other with threads, and stops as soon as too many clips have failed.

    The threads work ahead beyond the end of a shard. At most three clips per worker are in memory.
    """
    failures = _failures(builder)
    for finished in done.values():
        for file, reason, absent in finished.failures:
            failures.add(file, reason, absent=absent)
    failures.check(builder.max_failed_share)

    def checked(outcomes: Iterator[Recorded | Failure]) -> Iterator[Recorded | Failure]:
        for outcome in outcomes:
            builder.on_clip()
            if isinstance(outcome, Failure):
                failures.add(outcome.file, outcome.reason, absent=outcome.absent)
                failures.check(builder.max_failed_share)
            yield outcome

    rows = (row for shard in todo for row in shard.rows)
    with contextlib.closing(map_ahead(builder.recorder, rows, workers=builder.workers)) as outcomes:
        for shard in todo:
            files.write(shard, checked(itertools.islice(outcomes, len(shard.rows))))


def _read(files: ShardFiles, shard: Shard) -> Finished:
    finished = files.read(shard)
    if finished is None:
        raise DatasetError(
            f"{files.records(shard)} was not written whole: give the same command again; it makes that file."
        )
    return finished


def _forget_failures(builder: ClipBuilder, files: ShardFiles) -> None:
    """Lets the next call try failed clips again: not every repair shows in a file's size or time."""
    for shard in builder.shards:
        finished = files.read(shard)
        if finished and any(not absent for _, _, absent in finished.failures):
            files.forget(shard)


def _failures(builder: ClipBuilder) -> report.Failures:
    return report.Failures(builder.source, total=len(builder.rows), expects_missing=builder.expects_missing)


def _make_report(builder: ClipBuilder, shards: Sequence[tuple[Shard, Finished]]) -> report.BuildReport:
    """Counts the outcomes of a build; raises where too many clips failed or a split has no usable one."""
    prepared: collections.Counter[str] = collections.Counter()
    failures = _failures(builder)
    by_split: dict[str, list[report.SkippedClip]] = collections.defaultdict(list)
    for shard, finished in shards:
        prepared[shard.split] += finished.clips
        for file, reason, absent in finished.failures:
            if failures.add(file, reason, absent=absent):
                by_split[shard.split].append(failures.skipped[-1])
    failures.check(builder.max_failed_share)
    for split, count in sorted(prepared.items()):
        if not count and by_split[split]:
            raise DatasetError(
                f"{builder.source}: no clip of the split {split!r} can be used, so nothing was written. "
                f"The first failure: {min(by_split[split]).reason}"
            )
    if not any(prepared.values()):
        raise DatasetError(
            f"{builder.source}: none of its {len(builder.rows)} clips is there, the first is "
            f"{builder.rows[0].file}: give the folder that holds the sound files."
        )
    return report.BuildReport(
        dataset=builder.name,
        source=str(builder.source),
        sample_rate_hz=builder.sample_rate_hz,
        prepared={split: count for split, count in sorted(prepared.items()) if count},
        seconds=round(sum(finished.samples for _, finished in shards) / builder.sample_rate_hz, 3),
        uncaptioned=sum(finished.uncaptioned for _, finished in shards),
        with_frames=sum(finished.with_frames for _, finished in shards),
        skipped=tuple(sorted(failures.skipped)),
        missing=tuple(sorted(failures.missing)),
    )


def _assemble(
    builder: ClipBuilder, shards: Sequence[tuple[Shard, Finished]], files: ShardFiles, folder: Path
) -> None:
    """Writes a dataset's folder from finished shards, which stay where they are."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    by_split: dict[str, list[tuple[Shard, Finished]]] = collections.defaultdict(list)
    for shard, finished in shards:
        if finished.clips:
            by_split[shard.split].append((shard, finished))
    infos = []
    for split, of_split in sorted(by_split.items()):
        template = naming.ShardedFileTemplate(
            dataset_name=builder.name,
            data_dir=epath.Path(folder),
            split=split,
            filetype_suffix="array_record",
        )
        for place, (shard, _) in enumerate(of_split):
            name = template.sharded_filepath(shard_index=place, num_shards=len(of_split))
            _link(files.records(shard), Path(name))
        with clip_index.index_path(folder, split).open("w", encoding="utf-8") as index:
            for shard, _ in of_split:
                index.writelines(files.index_lines(shard))
        infos.append(
            splits.SplitInfo(
                name=split,
                shard_lengths=[finished.clips for _, finished in of_split],
                num_bytes=sum(finished.record_bytes for _, finished in of_split),
                filename_template=template,
            )
        )
    builder.info.set_splits(splits.SplitDict(infos))
    builder.info.write_to_directory(folder)


def _link(file: Path, name: Path) -> None:
    """Gives a file a second name; copies it where the file system has no hard links."""
    try:
        os.link(file, name)
    except OSError:
        shutil.copyfile(file, name)


def _captions(builder: ClipBuilder, folder: Path) -> list[str]:
    """Returns every distinct caption of a dataset that was just written, sorted."""
    clips = (clip for split in builder.info.splits for clip in clip_index.read(folder, split))
    return sorted({caption for clip in clips for caption in clip.captions})
