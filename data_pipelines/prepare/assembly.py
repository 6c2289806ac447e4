"""Finished shards become a dataset: named as tfds names them, with what its readers need beside them."""

import collections
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from etils import epath
from tensorflow_datasets.core import naming, splits

from audiosep_jax.errors import DatasetError
from data_pipelines.mixtures import clip_index
from data_pipelines.prepare import report
from data_pipelines.prepare.builder import ClipBuilder
from data_pipelines.prepare.shard_files import Finished, ShardFiles
from data_pipelines.prepare.shards import Shard


def make_report(builder: ClipBuilder, shards: Sequence[tuple[Shard, Finished]]) -> report.BuildReport:
    """Returns what came of a build.

    Raises:
      AudioSepError: too many clips failed, or a split has none that can be used.
    """
    prepared: collections.Counter[str] = collections.Counter()
    failures = report.Failures(
        builder.source, total=len(builder.rows), expects_missing=builder.expects_missing
    )
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


def assemble(
    builder: ClipBuilder, shards: Sequence[tuple[Shard, Finished]], files: ShardFiles, folder: Path
) -> None:
    """Writes a dataset's folder from finished shards, which stay where they are.

    A shard's file gets a second name there, which costs neither time nor room; it is copied on file systems
    that know no such names.

    Raises:
      OSError: the folder cannot be written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    of_splits: dict[str, list[tuple[Shard, Finished]]] = collections.defaultdict(list)
    for shard, finished in shards:
        if finished.clips:
            of_splits[shard.split].append((shard, finished))
    infos = []
    for split, of_split in sorted(of_splits.items()):
        template = naming.ShardedFileTemplate(
            dataset_name=builder.name,
            data_dir=epath.Path(folder),
            split=split,
            filetype_suffix="array_record",
        )
        for place, (shard, _) in enumerate(of_split):
            name = template.sharded_filepath(shard_index=place, num_shards=len(of_split))
            second_name(files.records(shard), Path(name))
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


def second_name(file: Path, name: Path) -> None:
    """Makes a file appear under another name too.

    Raises:
      OSError: the name cannot be written.
    """
    try:
        os.link(file, name)
    except OSError:
        shutil.copyfile(file, name)
