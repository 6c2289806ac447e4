"""Compares an export, run in a process without this project, with the live model."""

import dataclasses
import functools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np

from audiosep_jax.checkpoints.folder import Checkpoint
from audiosep_jax.config import ModelConfig
from audiosep_jax.errors import ExportError
from audiosep_jax.export.check_sounds import Material
from audiosep_jax.export.exporter import RUN_FILE, runner
from audiosep_jax.models import masking, separator

# Largest allowed difference from the live model, of a sample (full scale 1) or of the mask.
LIMITS = {"stablehlo": 1e-5, "onnx": 1e-4}
LIMIT_DB = 0.01

_PROJECT = ("audiosep_jax", "data_pipelines", "experiments", "flax", "torch", "tensorflow")
_REFUSED = {"stablehlo": (*_PROJECT, "onnx", "onnxruntime"), "onnx": (*_PROJECT, "jax", "jaxlib", "onnx")}
_MAX_CALLS, _MAX_SECONDS = 7, 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """The comparison of one function on one batch of mixtures; scores are NaN without targets."""

    function: str  # "whole" or "core"
    material: str  # name of the mixtures
    batch: int
    difference: float  # largest absolute difference of a sample of the estimates; for "core" also of the mask
    live_db: float  # mean SI-SDR of the estimates against the targets
    export_db: float
    difference_db: float  # largest absolute difference of the SI-SDR of one mixture
    live_seconds: tuple[float, ...]  # durations of the calls after the first
    export_seconds: tuple[float, ...]
    fault: str = ""  # why the result cannot be compared, else empty

    @property
    def place(self) -> str:
        """Names the function and the batch."""
        return _place(self.function, self.material, self.batch)


def compare(
    folder: Path,
    manifest: dict[str, Any],
    checkpoint: Checkpoint,
    materials: Sequence[Material],
    *,
    si_sdr_db: Callable[[np.ndarray, np.ndarray], np.ndarray | jax.Array],
    progress: Callable[[str], None] = lambda line: None,
) -> Iterator[Comparison]:
    """Runs every exported function on every batch, in a fresh process and live; yields a comparison for each.

    The files of the folder have been verified; the mixtures have the export's sample rate and window.
    `si_sdr_db` maps (target, estimate), both `[batch, samples]`, to `[batch]`. `progress` is called with a
    line after every batch of the fresh process, which runs all batches before the first comparison.

    Raises:
      ExportError: the export does not run in the fresh process.
    """
    config = checkpoint.config.model
    cases = [(name, material) for name in manifest["functions"] for material in materials]
    spectrum = jax.jit(functools.partial(masking.spectrum, config))

    def signal(name: str, material: Material) -> np.ndarray:
        return material.mixture if name == "whole" else np.asarray(spectrum(material.mixture)[2])

    def done(index: int) -> None:
        name, material = cases[index]
        place = _place(name, material.name, len(material.mixture))
        progress(f"the export ran {index + 1} of {len(cases)}: {place}")

    given = [(name, signal(name, material), material.condition) for name, material in cases]
    ran = run_fresh(folder, manifest["format"], given, done=done)
    calls = {"whole": separator.apply, "core": separator.core}
    variables = jax.device_put(checkpoint.variables)
    live = {name: jax.jit(functools.partial(calls[name], config)) for name in manifest["functions"]}
    for (name, material), (_, array, condition), (result, seconds) in zip(cases, given, ran, strict=True):
        expected, live_seconds = timed(lambda n=name, a=array, c=condition: live[n](variables, a, c))
        found, due = (f"{one.dtype} {list(one.shape)}" for one in (result, expected))
        of_mask, differences = np.float32(0), np.float32(np.nan)
        scores = np.full((2, len(expected)), np.nan)
        if found == due:
            with np.errstate(invalid="ignore"):  # infinity - infinity is NaN, which exceeds every limit
                if name == "core":
                    # Cosine and sine are undefined where the rotation has no length.
                    of_mask = np.abs(result[..., 0] - expected[..., 0])
                    result, expected = (
                        np.asarray(_masked(config, material.mixture, one)) for one in (result, expected)
                    )
                differences = np.append(of_mask, np.abs(result - expected))
            if material.target is not None:
                scores = np.stack([si_sdr_db(material.target, one) for one in (expected, result)])
        yield Comparison(
            function=name,
            material=material.name,
            batch=len(material.mixture),
            # NumPy's maximum is NaN if any sample is NaN.
            difference=float(np.max(differences)),
            live_db=float(scores[0].mean()),
            export_db=float(scores[1].mean()),
            difference_db=float(np.max(np.abs(scores[1] - scores[0]))),
            live_seconds=live_seconds,
            export_seconds=tuple(seconds),
            fault="" if found == due else f"returned {found}, expected is {due}",
        )


def run_fresh(
    folder: Path,
    export_format: str,
    cases: Sequence[tuple[str, np.ndarray, np.ndarray]],
    *,
    done: Callable[[int], None] = lambda index: None,
    max_seconds: float = _MAX_SECONDS,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Runs (function, signal, condition) in a process that can import neither this project nor Flax.

    The process runs the folder's run.py only if it equals the script of this version; otherwise it runs the
    script of this version, because a foreign folder may hold anything. `done` is called with the index of
    every finished case; `max_seconds` is per case, as in `timed`.

    Returns:
      Per case the result, and the seconds of the calls after the first.

    Raises:
      ExportError: the process fails; the text holds its reason.
    """
    folder = folder.absolute()  # the process runs elsewhere
    script = runner(export_format)
    own = folder / RUN_FILE
    if own.is_file() and own.read_bytes() == script.read_bytes():
        script = own
    with tempfile.TemporaryDirectory() as scratch:
        job, result, errors = (Path(scratch, name) for name in ("job.npz", "result.npz", "errors.txt"))
        arrays = {}
        for index, (function, signal, condition) in enumerate(cases):
            arrays |= {f"{index}/function": function, f"{index}/signal": signal}
            arrays[f"{index}/condition"] = condition
        np.savez(job, **arrays)
        command = [sys.executable, "-I", *map(str, (runner("fresh"), script, folder, job, result))]
        command += [str(_MAX_CALLS), str(max_seconds), *_REFUSED[export_format]]
        # On the CPU, because accelerators round the factors of float32 products. Tracebacks are not filtered,
        # because JAX's notice about the filter would hide the reason.
        on_cpu = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "JAX_TRACEBACK_FILTERING": "off"}
        with errors.open("wb") as log:
            status, reason = _follow(command, scratch, {**os.environ, **on_cpu}, log, done)
        if status != 0:
            reason = reason or _reason(errors.read_text("utf-8", "replace"), status)
            raise ExportError(f"{folder} does not run in a process of its own: {reason}")
        with np.load(result) as found:
            return [(found[f"{i}/result"], found[f"{i}/seconds"]) for i in range(len(cases))]


def _follow(
    command: Sequence[str], cwd: str, env: dict[str, str], log: IO[bytes], done: Callable[[int], None]
) -> tuple[int, str]:
    """Runs the fresh process and reports its cases; returns its status and its reason for a failure."""
    reason = ""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, text=True, errors="replace", cwd=cwd, env=env
    ) as process:
        try:
            for line in process.stdout or ():
                kind, _, text = line.rstrip("\n").partition(" ")
                if kind == "done" and text.isdecimal():
                    done(int(text))
                elif kind == "failed":
                    reason = text
        except BaseException:
            process.kill()
            raise
    return process.returncode, reason


def _reason(errors: str, status: int) -> str:
    """Returns the line of the exception in what a process wrote, or else how the process ended."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    if status < 0:
        return f"signal {-status} ended it"
    return (named or lines or [f"status {status}"])[-1]


def problems(export_format: str, comparisons: Sequence[Comparison]) -> list[str]:
    """Returns a phrase for every comparison that exceeds a limit."""
    found, limit = [], LIMITS[export_format]
    if not comparisons:
        found.append("nothing was compared")
    for one in comparisons:
        if one.fault:
            found.append(f"{one.place}: {one.fault}")
            continue
        if not one.difference <= limit:
            found.append(f"{one.place}: differs by {one.difference:.2g}, allowed is {limit:g}")
        if not np.isnan(one.live_db) and not one.difference_db <= LIMIT_DB:
            found.append(
                f"{one.place}: SI-SDR differs by {one.difference_db:.2g} dB, allowed is {LIMIT_DB:g}"
            )
    return found


def timed(
    call: Callable[[], jax.Array], *, max_seconds: float = _MAX_SECONDS
) -> tuple[np.ndarray, tuple[float, ...]]:
    """Returns a call's result and the seconds of the calls after the first, as `run_fresh` times them.

    The first call compiles. At least one more call is timed, and at most seven within `max_seconds`.
    """
    result, seconds = np.asarray(call()), []
    while not seconds or (len(seconds) < _MAX_CALLS and sum(seconds) + seconds[-1] <= max_seconds):
        started = time.perf_counter()
        np.asarray(call())
        seconds.append(time.perf_counter() - started)
    return result, tuple(seconds)


def _place(function: str, material: str, batch: int) -> str:
    return f"{function}, {material}, batch {batch}"


@functools.partial(jax.jit, static_argnums=0)
def _masked(config: ModelConfig, mixture: jax.Array, mask: jax.Array) -> jax.Array:
    return masking.separate(config, mixture, lambda _: (mask[..., 0], mask[..., 1], mask[..., 2]))
