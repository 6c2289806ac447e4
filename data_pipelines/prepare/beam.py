"""Makes shards on Apache Beam: the same files, written by the machines of a runner."""

import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from audiosep_jax.errors import DatasetError, MissingPackageError, UsageError, shown
from data_pipelines.mixtures.clips import ClipRow
from data_pipelines.prepare.builder import ClipBuilder
from data_pipelines.prepare.encoding import Recorder
from data_pipelines.prepare.shard_files import ShardFiles
from data_pipelines.prepare.shards import Shard


def make_shards(
    builder: ClipBuilder, shards: Sequence[Shard], files: ShardFiles, *, options: Sequence[str] = ()
) -> None:
    """Makes each shard by one worker, from rows in a file beside it.

    Only the names of shards are sent through the pipeline. Workers read the source and write the shards
    themselves, so all machines need both folders under the same path. `options` are Beam's, such as
    "--runner=FlinkRunner".

    Raises:
      MissingPackageError: Beam is not installed.
      DatasetError: Beam refuses the options, or the pipeline failed.
    """
    try:
        import apache_beam as beam  # pyright: ignore[reportMissingImports]
        from apache_beam.options.pipeline_options import (  # pyright: ignore[reportMissingImports]
            PipelineOptions,
        )
    except ImportError as error:
        raise MissingPackageError(
            "Building on Apache Beam needs a package that is not installed: pip install 'audiosep_jax[beam]'."
        ) from error
    if not shards:
        return
    for shard in shards:
        files.forget(shard)
        values = [shard.split, shard.number, [dataclasses.asdict(row) for row in shard.rows]]
        files.write_text(_rows_path(files, shard.name), json.dumps(values, ensure_ascii=False))
    try:
        with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            names = pipeline | beam.Create([shard.name for shard in shards])
            _ = names | beam.Reshuffle() | beam.Map(make_shard, builder.recorder, files)
    except (Exception, SystemExit) as error:  # each runner has errors of its own; argparse exits
        raise DatasetError(
            f"The Beam pipeline failed ({shown(_last_line(error))}): give the same command again to resume."
        ) from error


def parse_options(text: str) -> list[str]:
    """Returns Beam's options from one text, in which leading dashes are optional.

    >>> parse_options("runner=FlinkRunner --streaming")
    ['--runner=FlinkRunner', '--streaming']

    Raises:
      UsageError: the quotes do not match.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--beam-options {text!r} cannot be read ({error}): close its quotes.") from error
    return [word if word.startswith("-") else f"--{word}" for word in words]


def make_shard(name: str, recorder: Recorder, files: ShardFiles) -> int:
    """Makes the shard of a name, unless it is finished, and returns its number of clips; runs in a worker."""
    split, number, rows = json.loads(_rows_path(files, name).read_text("utf-8"))
    texts = ("captions", "frames", "labels")
    rows = [ClipRow(**row | {field: tuple(row[field]) for field in texts}) for row in rows]
    shard = Shard(split, number, rows)
    finished = files.read(shard) or files.write(shard, map(recorder, shard.rows))
    return finished.clips


def _rows_path(files: ShardFiles, name: str) -> Path:
    return files.folder / f"{name}.rows.json"


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
