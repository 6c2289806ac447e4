"""Lists the clips of a dataset for a corpus of mixtures."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiosep_jax.errors import DatasetError, UsageError, listed
from data_pipelines.corpora import registry
from data_pipelines.render.recipe import Clip


def list_clips(
    dataset: str,
    source: Path,
    *,
    metadata: Path | None = None,
    exclude: Path | None = None,
    splits: Sequence[str] = (),
) -> tuple[list[Clip], int]:
    """Returns the clips of a dataset whose files exist, and the number of clips without a file.

    Only clips of `splits`, if there are any, and not the recordings that the file `exclude` lists.

    Raises:
      UsageError: there is no such dataset.
      DatasetError: it does not take these options, cannot be read, or has no clip of these splits.
    """
    if dataset not in registry.DATASETS:
        raise UsageError(f"there is no dataset {dataset!r}: choose one of {', '.join(registry.DATASETS)}.")
    if "clips" in registry.DATASETS[dataset].options:
        raise UsageError(
            f"{dataset} makes its sound files: run `audiosep prepare {dataset}` with --clips FOLDER, then "
            "render audio_folder with FOLDER as the source."
        )
    takes_splits = "splits" in registry.DATASETS[dataset].options
    given = {
        "metadata": metadata,
        "exclude": exclude,
        "splits": tuple(splits) if takes_splits and splits else None,
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    registry.check_options(dataset, options)
    with tempfile.TemporaryDirectory() as folder:  # the builder wants a place to write; here it only lists
        builder = registry.builder_class(dataset)(source=source, data_dir=folder, **options)
    rows = [row for row in builder.rows if not splits or takes_splits or row.split in splits]
    if not rows:
        known = listed(sorted({row.split for row in builder.rows}))
        raise DatasetError(f"{source} has no clip of {', '.join(splits)}: its splits are {known}.")
    existing = [row for row in rows if (source / row.file).is_file()]
    clips = [
        Clip(
            file=row.file,
            labels=row.labels or ((row.label,) if row.label else ()),
            captions=row.captions,
            recording=row.source,
        )
        for row in existing
    ]
    return clips, len(rows) - len(existing)
