"""`audiosep export`: a model for serving without this project, and whether it computes the same."""

import dataclasses
import datetime
import importlib.util
import os
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from audiosep_jax.errors import AudioSepError, ExportError, MissingPackageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from audiosep_jax.checkpoints.folder import Checkpoint
    from audiosep_jax.export.check import Comparison
    from audiosep_jax.separation.api import AudioSep

_BUNDLED = "bundled"  # in a manifest: the checkpoint that comes with the package, wherever that lies

_HEADER = (
    "| function | sound | batch | max difference | SI-SDR live → export | export, ms | live, ms |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportArgs:
    """Write a model for serving without this project, or check such an export.

    audiosep export --format onnx --out served
    audiosep export --check served
    """

    out: Path | None = None
    """Folder for the export; an earlier export there is replaced."""
    format: Literal["stablehlo", "onnx", "safetensors"] = "stablehlo"
    """stablehlo (for JAX), onnx (for ONNX Runtime and others), safetensors (the parameters, to keep)."""
    checkpoint: str | None = None
    """Folder of the model, or org/name on the Hugging Face hub; without it the bundled one, and for a check
    the one that the export came from."""
    functions: tuple[Literal["whole", "core"], ...] = ("whole", "core")
    """whole: waveform and condition to waveform; core: magnitude and condition to mask."""
    window_seconds: float = 5.0
    """Length of the waveform that the functions take."""
    check: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """An export to reload in a process of its own and to compare with the live model."""
    audio: tuple[Path, ...] = ()
    """Recordings to compare on as well, with --check."""


def run(args: ExportArgs) -> int:
    """Exports or checks; returns the exit status."""
    if (args.out is None) == (args.check is None):
        raise UsageError("Give either --out DIR, to export, or --check DIR, to check an export.")
    if args.check is not None:
        return _check(args.check, args)
    if args.audio:
        raise UsageError("--audio belongs to --check: an export needs no recording.")
    return _export(args.out or Path(), args)


def _export(out: Path, args: ExportArgs) -> int:
    from audiosep_jax.export import exporter
    from audiosep_jax.separation import api

    if args.format == "onnx":
        _need("onnx")
    place = _place(args.checkpoint)
    fingerprint, reason = _fingerprint(api.load(place))
    folder = exporter.export(
        place,
        out,
        export_format=args.format,
        functions=args.functions,
        window_seconds=args.window_seconds,
        # A path is recorded whole, a name as it is.
        source=_BUNDLED if args.checkpoint is None else _unless_path(args.checkpoint),
        fingerprint=fingerprint,
    )
    for path in sorted(folder.iterdir()):
        if path.is_file():
            print(f"{path}  ({path.stat().st_size / 1e6:.2f} MB)")
    if reason:
        print(f"The manifest does not identify the query encoder: {reason}")
    print(f"Compare it with the live model: audiosep export --check {folder}")
    return 0


def _place(checkpoint: str | None) -> Path:
    """Returns the folder that an argument or a manifest names."""
    from audiosep_jax.checkpoints import hub
    from audiosep_jax.separation import api

    return api.BUNDLED_CHECKPOINT if checkpoint in (None, _BUNDLED) else hub.resolve(checkpoint)


def _unless_path(checkpoint: str) -> str | None:
    return None if Path(checkpoint).expanduser().exists() else checkpoint


def _need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise MissingPackageError(
            f"The package {package} is not installed, which this format needs: "
            "pip install 'audiosep_jax[onnx]'."
        )


def _fingerprint(model: "AudioSep") -> tuple[str | None, str]:
    """Returns the query encoder's fingerprint, or None and why there is none."""
    from audiosep_jax.encoders.base import load_encoder

    try:
        return load_encoder(model.config.query).fingerprint, ""
    except AudioSepError as error:
        return None, str(error)


def _check(folder: Path, args: ExportArgs) -> int:
    os.environ["JAX_PLATFORMS"] = "cpu"  # before JAX is imported: accelerators round products on the way
    from audiosep_jax.evals import metrics
    from audiosep_jax.export import check, check_sounds, manifest_check

    manifest = manifest_check.read_manifest(folder)
    manifest_check.verify_files(folder, manifest)
    print(f"{len(manifest['files'])} files match their hashes")
    manifest_check.verify_date(folder, manifest, now=datetime.datetime.now(datetime.UTC))
    if manifest["format"] == "safetensors":
        manifest_check.live_checkpoint(folder, manifest, folder)
        print(f"{len(manifest['parameters']['tensors'])} tensors match their hashes")
        if args.checkpoint is not None:
            manifest_check.live_checkpoint(folder, manifest, _place(args.checkpoint))
            print(f"{args.checkpoint} holds the same tensors")
        return 0
    if manifest["format"] == "onnx":
        _need("onnxruntime")
    place = _place(args.checkpoint or manifest["checkpoint"])
    checkpoint = manifest_check.live_checkpoint(folder, manifest, place)
    print(f"{len(manifest['parameters']['tensors'])} tensors of the checkpoint match their hashes")
    materials = check_sounds.batches(
        sample_rate_hz=checkpoint.config.model.sample_rate_hz,
        samples=manifest["audio"]["window_samples"],
        condition_of=_conditions(checkpoint),
        recordings=args.audio,
    )
    comparisons = []
    for one in check.compare(
        folder,
        manifest,
        checkpoint,
        materials,
        si_sdr_db=metrics.si_sdr_db,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    ):
        if not comparisons:
            print("\n".join(_HEADER))
        print(row(one), flush=True)
        comparisons.append(one)
    found = check.problems(manifest["format"], comparisons)
    if found:
        raise ExportError(f"{folder} does not compute what the live model computes: {'; '.join(found)}.")
    print(f"equal to the live model within {check.LIMITS[manifest['format']]:g} and {check.LIMIT_DB:g} dB")
    return 0


def _conditions(checkpoint: "Checkpoint") -> "Callable[[str], np.ndarray]":
    """Returns the query encoder, or a stand-in where there is none to load."""
    from audiosep_jax.export import check_sounds
    from audiosep_jax.separation.api import AudioSep

    live = AudioSep(checkpoint.config, checkpoint.variables)
    try:
        live.condition(query=check_sounds.SCENES[0][-1])
    except AudioSepError as error:
        print(f"Conditions are random vectors, because there is no query encoder: {error}")
        return check_sounds.random_condition(checkpoint.config.model.condition_size)
    return lambda query: live.condition(query=query)


def row(one: "Comparison") -> str:
    """Returns a comparison as a row of a Markdown table; times are minimum / median / maximum in ms."""
    known = one.live_db == one.live_db
    score = f"{one.live_db:.3f} → {one.export_db:.3f} dB ({one.difference_db:.1e})" if known else "–"
    times = [_milliseconds(seconds) for seconds in (one.export_seconds, one.live_seconds)]
    cells = (one.function, one.material, one.batch, f"{one.difference:.1e}", score, *times)
    return f"| {' | '.join(map(str, cells))} |"


def _milliseconds(seconds: tuple[float, ...]) -> str:
    return " / ".join(
        f"{1e3 * value:.0f}" for value in (min(seconds), statistics.median(seconds), max(seconds))
    )
