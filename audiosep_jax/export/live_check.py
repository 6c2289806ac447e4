"""Checks an export: its files, its date, its tensors, and what it computes beside the live model."""

import datetime
import importlib.util
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from audiosep_jax.errors import ExportError, MissingPackageError
from audiosep_jax.evals import metrics
from audiosep_jax.export import check, check_sounds, manifest_check, sources

_HEADER = (
    "| function | sound | batch | max difference | SI-SDR live → export | export, ms | live, ms |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
)


def check_export(
    folder: Path,
    *,
    checkpoint: str | None,
    recordings: Sequence[Path],
    say: Callable[[str], None],
    progress: Callable[[str], None],
) -> None:
    """Compares an export with the live model, on the bundled sounds and on recordings.

    If `checkpoint` is None, the manifest names the live model. `say` is called with every line of the result,
    `progress` with a line whenever the export has run on one batch.

    Raises:
      ExportError: a file, tensor or result differs, or the export does not run.
      AudioSepError: the checkpoint, a recording or a package is missing.
    """
    manifest = manifest_check.read_manifest(folder)
    manifest_check.verify_files(folder, manifest)
    say(f"{len(manifest['files'])} files match their hashes")
    manifest_check.verify_date(folder, manifest, now=datetime.datetime.now(datetime.UTC))
    tensors = len(manifest["parameters"]["tensors"])
    form = manifest["format"]
    if form == "safetensors":
        manifest_check.live_checkpoint(folder, manifest, folder)
        say(f"{tensors} tensors match their hashes")
        if checkpoint is not None:
            manifest_check.live_checkpoint(folder, manifest, sources.find_checkpoint(checkpoint))
            say(f"{checkpoint} holds the same tensors")
        return
    if form == "onnx" and importlib.util.find_spec("onnxruntime") is None:
        raise MissingPackageError(
            "The package onnxruntime is not installed, which this format needs: "
            "pip install 'audiosep_jax[onnx]'."
        )
    place = sources.find_checkpoint(checkpoint or manifest["checkpoint"])
    live = manifest_check.live_checkpoint(folder, manifest, place)
    say(f"{tensors} tensors of the checkpoint match their hashes")
    condition_of, missing = sources.condition_function(live)
    if missing:
        say(f"Conditions are random vectors, because there is no query encoder: {missing}")
    materials = check_sounds.batches(
        sample_rate_hz=live.config.model.sample_rate_hz,
        samples=manifest["audio"]["window_samples"],
        condition_of=condition_of,
        recordings=recordings,
    )
    comparisons = []
    for one in check.compare(
        folder, manifest, live, materials, si_sdr_db=metrics.si_sdr_db, progress=progress
    ):
        if not comparisons:
            say("\n".join(_HEADER))
        say(_row(one))
        comparisons.append(one)
    problems = check.problems(form, comparisons)
    if problems:
        raise ExportError(f"{folder} does not compute what the live model computes: {'; '.join(problems)}.")
    say(f"equal to the live model within {check.LIMITS[form]:g} and {check.LIMIT_DB:g} dB")


def _row(one: check.Comparison) -> str:
    """Returns a comparison as a row of a Markdown table; times are minimum / median / maximum in ms."""
    known = one.live_db == one.live_db
    score = f"{one.live_db:.3f} → {one.export_db:.3f} dB ({one.difference_db:.1e})" if known else "–"
    times = [
        " / ".join(f"{1e3 * pick(seconds):.0f}" for pick in (min, statistics.median, max))
        for seconds in (one.export_seconds, one.live_seconds)
    ]
    cells = (one.function, one.material, one.batch, f"{one.difference:.1e}", score, *times)
    return f"| {' | '.join(map(str, cells))} |"
