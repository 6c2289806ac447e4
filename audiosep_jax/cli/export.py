"""`audiosep export`: writes a model for serving without this project, and checks such an export."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from audiosep_jax.errors import UsageError


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
    """Folder of the model, or org/name on the Hugging Face hub; by default the bundled model; with --check by
    default the model that the export came from."""
    functions: tuple[Literal["whole", "core"], ...] = ("whole", "core")
    """whole: waveform and condition to waveform; core: magnitude and condition to mask."""
    window_seconds: float = 5.0
    """Length of the waveform that the functions take, in seconds."""
    check: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Reload this export in a separate process, and compare it with the live model."""
    audio: tuple[Path, ...] = ()
    """With --check: recordings to compare on, beside the bundled ones."""


def run(args: ExportArgs) -> int:
    """Exports or checks; returns the exit status."""
    if (args.out is None) == (args.check is None):
        raise UsageError("Give either --out DIR, to export, or --check DIR, to check an export.")
    if args.check is not None:
        _check(args, args.check)
        return 0
    if args.audio:
        raise UsageError("--audio belongs to --check: an export needs no recording.")
    _export(args, args.out or Path())
    return 0


def _export(args: ExportArgs, out: Path) -> None:
    from audiosep_jax.export import exporter, onnx, sources

    if args.format == "onnx":
        onnx.check_installed()
    checkpoint = sources.find_checkpoint(args.checkpoint)
    fingerprint, reason = sources.encoder_fingerprint(checkpoint)
    folder = exporter.export(
        checkpoint,
        out,
        export_format=args.format,
        functions=args.functions,
        window_seconds=args.window_seconds,
        source=sources.name_in_manifest(args.checkpoint),
        fingerprint=fingerprint,
    )
    for path in sorted(folder.iterdir()):
        if path.is_file():
            print(f"{path}  ({path.stat().st_size / 1e6:.2f} MB)")
    if reason:
        print(f"The manifest does not identify the query encoder: {reason}")
    print(f"Compare it with the live model: audiosep export --check {folder}")


def _check(args: ExportArgs, folder: Path) -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"  # before JAX is imported: accelerators round products to bfloat16
    from audiosep_jax.export.live_check import check_export

    check_export(
        folder,
        checkpoint=args.checkpoint,
        recordings=args.audio,
        say=lambda line: print(line, flush=True),
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
