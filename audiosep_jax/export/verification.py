"""Whether an export is what its manifest says: files, hashes, date, and the checkpoint that it came from."""

import datetime
import json
from pathlib import Path
from typing import Any

from audiosep_jax.checkpoints import folder as checkpoints
from audiosep_jax.errors import AudioSepError
from audiosep_jax.export import manifest as manifests
from audiosep_jax.export.writing import KIND, MANIFEST_FILE
from audiosep_jax.serialization import to_dict

_FIELDS = {
    "format": str,
    "created": str,
    "call": str,
    "functions": dict,
    "audio": dict,
    "config": dict,
    "checkpoint": str,
    "parameters": dict,
    "files": dict,
    "versions": dict,
}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads a manifest.

    Raises:
      AudioSepError: there is none, or it is damaged or of an unknown version.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise AudioSepError(
            f"{folder} is not an export: its {MANIFEST_FILE} cannot be read ({error.strerror})."
        ) from error
    except ValueError as error:
        raise AudioSepError(f"{path} is damaged ({error}): export the model again.") from error
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise AudioSepError(f"{path} is not the manifest of an export.")
    if manifest.get("manifest_version") != manifests.VERSION:
        raise AudioSepError(
            f"{path} has version {manifest.get('manifest_version')!r}, this audiosep_jax reads version "
            f"{manifests.VERSION}: use the audiosep_jax that wrote it."
        )
    wrong = [name for name, kind in _FIELDS.items() if not isinstance(manifest.get(name), kind)]
    if wrong:
        raise AudioSepError(f"{path} is damaged (its {wrong[0]!r} is missing): export the model again.")
    return manifest


def verify_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Compares every file with its hash.

    Raises:
      AudioSepError: files are missing, changed, or not listed; all of them are named.
    """
    problems = []
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif not isinstance(entry, dict) or manifests.file_hash(path) != entry.get("sha256"):
            problems.append(f"{name} is not the file that was exported")
    problems += [
        f"{one['file']} is not listed"
        for one in manifest["functions"].values()
        if one["file"] not in manifest["files"]
    ]
    if problems:
        raise AudioSepError(
            f"{folder} does not match its {MANIFEST_FILE}: {'; '.join(problems)}. Export the model again."
        )


def verify_date(folder: Path, manifest: dict[str, Any], *, now: datetime.datetime) -> None:
    """Compares the expiry with a date.

    Raises:
      AudioSepError: the export has expired, or its date is damaged.
    """
    if manifest.get("expires") is None:
        return
    try:
        expires = datetime.datetime.fromisoformat(manifest["expires"])
        expired = now >= expires
    except (TypeError, ValueError) as error:
        raise AudioSepError(
            f"{folder / MANIFEST_FILE} is damaged (its date of expiry): export the model again."
        ) from error
    if expired:
        raise AudioSepError(
            f"{folder} expired on {expires:%Y-%m-%d}: JAX reads what jax.export wrote for six months. Export "
            "the model again from its checkpoint."
        )


def live_checkpoint(folder: Path, manifest: dict[str, Any], place: Path) -> checkpoints.Checkpoint:
    """Loads the checkpoint that an export came from.

    Args:
      folder: of the export.
      manifest: of the export.
      place: folder of the checkpoint.

    Raises:
      AudioSepError: it cannot be loaded, or is not the model that was exported.
    """
    if not place.is_dir():
        raise AudioSepError(
            f"{folder} was exported from {place}, which is not here: name the checkpoint with --checkpoint."
        )
    loaded = checkpoints.load(place)
    recorded = manifest["parameters"].get("tensors")
    recorded = recorded if isinstance(recorded, dict) else {}
    found = manifests.parameter_hashes(loaded.variables)
    names = set(recorded) | set(found)
    wrong = sorted(name for name in names if recorded.get(name) != found.get(name))
    if wrong:
        raise AudioSepError(
            f"{place} is not the model that {folder} was exported from: {len(wrong)} of {len(names)} tensors "
            f"differ, {wrong[0]} among them."
        )
    if to_dict(loaded.config)["model"] != manifest["config"].get("model"):
        raise AudioSepError(
            f"{place} has the parameters of {folder}, but another model config: give the checkpoint that was "
            "exported."
        )
    return loaded
