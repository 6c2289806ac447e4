"""Compares an export with its manifest: fields, files, expiry, and the checkpoint of its origin."""

import datetime
import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from audiosep_jax.checkpoints import folder as checkpoints
from audiosep_jax.errors import ExportError, listed
from audiosep_jax.export import manifest as manifests
from audiosep_jax.export.folder import KIND, MANIFEST_FILE
from audiosep_jax.utils.serialization import to_dict

_FIELDS = {
    **dict.fromkeys(("format", "name", "created", "call"), str),
    **dict.fromkeys(("functions", "audio", "stft", "mask", "query", "config"), dict),
    "checkpoint": str,
    **dict.fromkeys(("parameters", "files", "versions"), dict),
}
_FORMATS = ("stablehlo", "onnx", "safetensors")
_FUNCTIONS = ("whole", "core")
_MAX_RATE_HZ, _MAX_WINDOW_SECONDS = 1_000_000, 600


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads a manifest.

    Raises:
      ExportError: the manifest is missing, damaged or of an unknown version.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ExportError(
            f"{folder} is not an export: its {MANIFEST_FILE} cannot be read ({error.strerror})."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path} is damaged ({error}): export the model again.") from error
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise ExportError(f"{path} is not the manifest of an export.")
    if manifest.get("manifest_version") != manifests.VERSION:
        raise ExportError(
            f"{path} has version {manifest.get('manifest_version')!r}, this audiosep_jax reads version "
            f"{manifests.VERSION}: use the audiosep_jax that wrote it."
        )
    wrong = list(_faults(manifest))
    if wrong:
        raise ExportError(f"{path} is damaged ({listed(wrong, separator='; ')}): export the model again.")
    return manifest


def _faults(manifest: dict[str, Any]) -> Iterator[str]:
    """Yields phrases for what is wrong with a manifest; later readers rely on the rest."""
    missing = [name for name in (*_FIELDS, "expires") if name not in manifest]
    if missing:
        yield f"{listed(map(repr, missing))} missing"
    unlike = {name: kind for name, kind in _FIELDS.items() if not isinstance(manifest.get(name), kind)}
    for name, kind in unlike.items():
        if name not in missing:
            yield f"{name!r} is not {'a text' if kind is str else 'an object'}"
    form = manifest.get("format")
    if "format" not in unlike and form not in _FORMATS:
        yield f"'format' is {form!r}, not one of {', '.join(_FORMATS)}"
    elif "format" not in unlike and "expires" in manifest:
        expires = manifest["expires"]
        if form == "stablehlo" and not _is_date(expires):
            yield f"'expires' is {_short(expires)}, not a date with its time zone"
        elif form != "stablehlo" and expires is not None:
            yield f"'expires' is {_short(expires)}, not null"
    if "created" not in unlike and not _is_date(manifest["created"]):
        yield f"'created' is {_short(manifest['created'])}, not a date with its time zone"
    if "checkpoint" not in unlike and not manifest["checkpoint"]:
        yield "'checkpoint' is empty"
    if "functions" not in unlike and form in _FORMATS:
        yield from _function_faults(manifest["functions"], form)
    if "audio" not in unlike:
        yield from _audio_faults(manifest["audio"], manifest.get("config"))
    if "files" not in unlike:
        yield from _file_faults(manifest["files"])
    tensors = manifest["parameters"].get("tensors") if "parameters" not in unlike else {"": ""}
    if not isinstance(tensors, dict) or not tensors:
        yield "'parameters.tensors' has no tensors"


def _function_faults(functions: dict[str, Any], form: str) -> Iterator[str]:
    if form == "safetensors":
        if functions:
            yield "'functions' has entries, but the format has none"
        return
    if not functions:
        yield "'functions' is empty"
    for name, entry in functions.items():
        file = entry.get("file") if isinstance(entry, dict) else None
        if name not in _FUNCTIONS:
            yield f"the function {_short(name)} is unknown"
        elif file != f"{name}.{form}":
            yield f"'functions.{name}' has the file {_short(file)}, not '{name}.{form}'"


def _audio_faults(audio: dict[str, Any], config: object) -> Iterator[str]:
    rate, samples = audio.get("sample_rate_hz"), audio.get("window_samples")
    if not _is_count(rate, _MAX_RATE_HZ):
        yield f"'audio.sample_rate_hz' is {_short(rate)}, not a rate in Hz"
        rate = None
    model = config.get("model") if isinstance(config, dict) else None
    if not isinstance(model, dict):
        yield "'config.model' is missing"
    elif rate is not None and rate != model.get("sample_rate_hz"):
        yield "'audio.sample_rate_hz' differs from 'config.model'"
    if not _is_count(samples, _MAX_WINDOW_SECONDS * (rate or _MAX_RATE_HZ)):
        yield f"'audio.window_samples' is {_short(samples)}, not 1 sample to {_MAX_WINDOW_SECONDS} s"


def _file_faults(files: dict[str, Any]) -> Iterator[str]:
    if not files:
        yield "'files' is empty"
    for name, entry in files.items():
        path = PurePosixPath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
            yield f"the file {_short(name)} is not in the folder"
        digest = entry.get("sha256") if isinstance(entry, dict) else None
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            yield f"the file {_short(name)} has no SHA-256"


def _is_count(value: object, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= largest


def _is_date(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def verify_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Raises an `ExportError` if files are missing, changed or not listed."""
    problems = []
    for name, entry in manifest["files"].items():
        path = folder / name
        try:
            if not path.is_file():
                problems.append(f"{name} is missing")
            elif manifests.file_hash(path) != entry["sha256"]:
                problems.append(f"{name} is not the file that was exported")
        except OSError as error:
            problems.append(f"{name} cannot be read ({error.strerror})")
    problems += [
        f"{one['file']} is not listed"
        for one in manifest["functions"].values()
        if one["file"] not in manifest["files"]
    ]
    if problems:
        raise ExportError(
            f"{folder} does not match its {MANIFEST_FILE}: {listed(problems, separator='; ')}. Export the "
            "model again."
        )


def verify_date(folder: Path, manifest: dict[str, Any], *, now: datetime.datetime) -> None:
    """Raises an `ExportError` if the export has expired."""
    if manifest["expires"] is None:
        return
    expires = datetime.datetime.fromisoformat(manifest["expires"])
    if now >= expires:
        raise ExportError(
            f"{folder} expired on {expires:%Y-%m-%d}: JAX reads files of jax.export for six months. Export "
            "the model again from its checkpoint."
        )


def live_checkpoint(folder: Path, manifest: dict[str, Any], place: Path) -> checkpoints.Checkpoint:
    """Loads the checkpoint of an export from `place`.

    Raises:
      CheckpointError: the checkpoint cannot be loaded.
      ExportError: it is missing, or is not the exported model.
    """
    if not place.is_dir():
        raise ExportError(
            f"{folder} was exported from {place}, which does not exist: name the checkpoint with "
            "--checkpoint."
        )
    loaded = checkpoints.load(place)
    recorded = manifest["parameters"]["tensors"]
    found = manifests.parameter_hashes(loaded.variables)
    names = set(recorded) | set(found)
    wrong = sorted(name for name in names if recorded.get(name) != found.get(name))
    if wrong:
        raise ExportError(
            f"{place} is not the model that {folder} was exported from: {len(wrong)} of {len(names)} tensors "
            f"differ: {listed(wrong)}."
        )
    if to_dict(loaded.config)["model"] != manifest["config"].get("model"):
        raise ExportError(
            f"{place} has the parameters of {folder}, but another model config: give the exported checkpoint."
        )
    return loaded
