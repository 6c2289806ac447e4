"""Writes an export folder of a checkpoint, in any format."""

import datetime
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from audiosep_jax.checkpoints import folder as checkpoints
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import CheckpointError, ExportError
from audiosep_jax.export import archive, manifest, stablehlo
from audiosep_jax.export.folder import MANIFEST_FILE, whole_folder
from audiosep_jax.export.functions import FunctionName, function
from audiosep_jax.models.inference import folded
from audiosep_jax.utils.serialization import load_json

Format = Literal["stablehlo", "onnx", "safetensors"]

RUN_FILE = "run.py"
_RUNNERS = Path(__file__).parent / "runners"


def export(
    checkpoint: Path,
    out: Path,
    *,
    export_format: Format,
    functions: Sequence[FunctionName] = ("whole", "core"),
    window_seconds: float = 5.0,
    source: str | None = None,
    fingerprint: str | None = None,
    created: datetime.datetime | None = None,
) -> Path:
    """Writes an export folder, whole or not at all.

    Args:
      checkpoint: folder of the model.
      out: the export folder; an earlier export there is replaced.
      export_format: "stablehlo", "onnx" or "safetensors" (which has no functions).
      functions: to export.
      window_seconds: length of a function's waveform.
      source: the model's origin in the manifest; None takes the checkpoint's path.
      fingerprint: of the query encoder, if it is known.
      created: date of the export; None takes the present.

    Returns:
      The folder.

    Raises:
      CheckpointError: the checkpoint cannot be read.
      ExportError: the window is unusable, or there are no functions.
      MissingPackageError: onnx is not installed.
      StorageError: `out` holds other files or cannot be written.
    """
    loaded = checkpoints.load(checkpoint)
    # With the tower's path as it is in the file: `load` makes it absolute.
    config = load_json(ExperimentConfig, checkpoint / checkpoints.CONFIG_FILE, kind=CheckpointError)
    samples = _window_samples(config, window_seconds)
    names = () if export_format == "safetensors" else tuple(dict.fromkeys(functions))
    if export_format != "safetensors" and not names:
        raise ExportError("No function was given: choose whole, core or both.")
    wanted = [function(config.model, name, samples=samples) for name in names]
    serialize = _serializer(export_format)
    tower = checkpoint / config.query.source
    with whole_folder(out) as staging:
        if export_format == "safetensors":
            archive.copy(checkpoint, staging)
        else:
            params = folded.fold(config.model, loaded.variables)
            for one in wanted:
                data = serialize(config.model, params, one)
                (staging / f"{one.name}.{export_format}").write_bytes(data)
            shutil.copyfile(runner(export_format), staging / RUN_FILE)
        text = json.dumps(
            manifest.build(
                staging,
                export_format=export_format,
                config=config,
                variables=loaded.variables,
                functions=wanted,
                samples=samples,
                checkpoint=source or str(checkpoint.resolve()),
                tower=manifest.folder_hashes(tower) if config.query.source and tower.is_dir() else None,
                fingerprint=fingerprint,
                created=created or datetime.datetime.now(datetime.UTC),
            ),
            indent=2,
            ensure_ascii=False,
        )
        (staging / MANIFEST_FILE).write_text(text + "\n", "utf-8")
    return out


def runner(export_format: str) -> Path:
    """Returns the script that runs an export; a copy of it lies in the folder."""
    return _RUNNERS / f"{export_format}.py"


def _serializer(export_format: Format):
    if export_format == "onnx":
        from audiosep_jax.export import onnx

        onnx.check_installed()
        return onnx.serialize
    return stablehlo.serialize


def _window_samples(config: ExperimentConfig, seconds: float) -> int:
    rate = config.model.sample_rate_hz
    if not 0 < seconds <= 600 or round(seconds * rate) < 1:
        raise ExportError(
            f"The window is {seconds:g} s long: give more than 0 and at most 600 seconds; the caller cuts "
            "longer recordings into windows."
        )
    return round(seconds * rate)
