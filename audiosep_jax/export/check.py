"""Whether an export computes what the live model computes, reloaded in a process without this project."""

import dataclasses
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from audiosep_jax.checkpoints.folder import Checkpoint
from audiosep_jax.config import ModelConfig
from audiosep_jax.errors import AudioSepError
from audiosep_jax.export.exporting import RUN_FILE, runner
from audiosep_jax.export.material import Material
from audiosep_jax.models import masking, separator

# Largest difference to the live model: of a sample (full scale 1) or of the mask.
LIMITS = {"stablehlo": 1e-5, "onnx": 1e-4}
LIMIT_DB = 0.01

_PROJECT = ("audiosep_jax", "data_pipelines", "experiments", "flax", "torch", "tensorflow")
_REFUSED = {"stablehlo": (*_PROJECT, "onnx", "onnxruntime"), "onnx": (*_PROJECT, "jax", "jaxlib", "onnx")}
_MAX_CALLS, _MAX_SECONDS = 7, 20.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """One function on one batch.

    Attributes:
      function: "whole" or "core".
      material: name of the mixtures.
      batch: how many.
      difference: largest absolute difference of a sample of the estimates; for the core also of the mask.
      live_db, export_db: mean SI-SDR of the estimates against the true targets, NaN without targets.
      difference_db: largest absolute difference of the SI-SDR of one mixture, NaN without targets.
      live_seconds, export_seconds: of calls after the first.
    """

    function: str
    material: str
    batch: int
    difference: float
    live_db: float
    export_db: float
    difference_db: float
    live_seconds: tuple[float, ...]
    export_seconds: tuple[float, ...]


def compare(
    folder: Path,
    manifest: dict[str, Any],
    checkpoint: Checkpoint,
    materials: Sequence[Material],
    *,
    si_sdr_db: Callable[[np.ndarray, np.ndarray], np.ndarray | jax.Array],
) -> list[Comparison]:
    """Runs every exported function on every batch, in a fresh process and live.

    Args:
      folder: of the export, its files verified.
      manifest: of the export.
      checkpoint: that it came from.
      materials: mixtures of the export's rate and window.
      si_sdr_db: (target, estimate), both `[batch, samples]`, -> `[batch]`.

    Raises:
      AudioSepError: the export does not run in a process of its own.
    """
    config = checkpoint.config.model
    cases = [(name, material) for name in manifest["functions"] for material in materials]
    spectrum = jax.jit(functools.partial(masking.spectrum, config))

    def signal(name: str, material: Material) -> np.ndarray:
        return material.mixture if name == "whole" else np.asarray(spectrum(material.mixture)[2])

    given = [(name, signal(name, material), material.condition) for name, material in cases]
    ran = run_fresh(folder, manifest["format"], given)
    calls = {"whole": separator.apply, "core": separator.core}
    variables = jax.device_put(checkpoint.variables)
    live = {name: jax.jit(functools.partial(calls[name], config)) for name in manifest["functions"]}
    comparisons = []
    for (name, material), (_, array, condition), (result, seconds) in zip(cases, given, ran, strict=True):
        expected, live_seconds = timed(lambda n=name, a=array, c=condition: live[n](variables, a, c))
        if result.shape != expected.shape:
            raise AudioSepError(
                f"{folder}: {name} returned shape {result.shape} where {expected.shape} is due."
            )
        difference = 0.0
        if name == "core":
            # Not of cosine and sine, which mean nothing where the network's rotation has no length.
            difference = float(np.abs(result[..., 0] - expected[..., 0]).max())
            result, expected = (_masked(config, material.mixture, mask) for mask in (result, expected))
        scores = np.full((2, len(result)), np.nan)
        if material.target is not None:
            scores = np.stack([si_sdr_db(material.target, one) for one in (expected, result)])
        comparisons.append(
            Comparison(
                function=name,
                material=material.name,
                batch=len(result),
                difference=max(difference, float(np.abs(result - expected).max())),
                live_db=float(scores[0].mean()),
                export_db=float(scores[1].mean()),
                difference_db=float(np.abs(scores[1] - scores[0]).max()),
                live_seconds=live_seconds,
                export_seconds=tuple(seconds),
            )
        )
    return comparisons


def run_fresh(
    folder: Path, export_format: str, cases: Sequence[tuple[str, np.ndarray, np.ndarray]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Runs (function, signal, condition) in a process that can import neither this project nor Flax.

    The process runs the folder's own run.py if that is the script of this version, and else the script of
    this version: what came with a folder from elsewhere is not executed.

    Returns:
      Per case the result, and the seconds of the calls after the first.

    Raises:
      AudioSepError: the process fails; the text holds the last line that it wrote.
    """
    folder = folder.absolute()  # the process runs elsewhere
    script = runner(export_format)
    own = folder / RUN_FILE
    if own.is_file() and own.read_bytes() == script.read_bytes():
        script = own
    with tempfile.TemporaryDirectory() as scratch:
        job, result = Path(scratch, "job.npz"), Path(scratch, "result.npz")
        arrays = {}
        for index, (function, signal, condition) in enumerate(cases):
            arrays |= {f"{index}/function": function, f"{index}/signal": signal}
            arrays[f"{index}/condition"] = condition
        np.savez(job, **arrays)
        finished = subprocess.run(
            [
                *(
                    sys.executable,
                    "-I",
                    str(runner("fresh")),
                    str(script),
                    str(folder),
                    str(job),
                    str(result),
                ),
                *(str(_MAX_CALLS), str(_MAX_SECONDS), *_REFUSED[export_format]),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            cwd=scratch,
            # Where float32 is float32: accelerators round products on the way.
            env={**os.environ, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""},
        )
        if finished.returncode != 0:
            last = (finished.stderr.strip().splitlines() or [f"status {finished.returncode}"])[-1]
            raise AudioSepError(f"{folder} does not run in a process of its own: {last}")
        with np.load(result) as found:
            return [(found[f"{i}/result"], found[f"{i}/seconds"]) for i in range(len(cases))]


def problems(export_format: str, comparisons: Sequence[Comparison]) -> list[str]:
    """Returns what lies beyond the limits, in words."""
    found, limit = [], LIMITS[export_format]
    for one in comparisons:
        place = f"{one.function}, {one.material}, batch {one.batch}"
        if not one.difference <= limit:
            found.append(f"{place}: differs by {one.difference:.2g}, allowed is {limit:g}")
        if not np.isnan(one.live_db) and not one.difference_db <= LIMIT_DB:
            found.append(f"{place}: SI-SDR differs by {one.difference_db:.2g} dB, allowed is {LIMIT_DB:g}")
    return found


def timed(call: Callable[[], jax.Array]) -> tuple[np.ndarray, tuple[float, ...]]:
    """Returns a call's result, and the seconds of the calls after the first, as `run_fresh` times them."""
    result, seconds = np.asarray(call()), []
    while len(seconds) < _MAX_CALLS and sum(seconds) < _MAX_SECONDS:
        started = time.perf_counter()
        np.asarray(call())
        seconds.append(time.perf_counter() - started)
    return result, tuple(seconds)


def _masked(config: ModelConfig, mixture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    masked = jax.jit(lambda mixture, *parts: masking.separate(config, mixture, lambda _: parts))
    return np.asarray(masked(mixture, mask[..., 0], mask[..., 1], mask[..., 2]))
