"""Runs `audiosep compile` for TPUs in separate processes, with small models."""

import json
import os
import subprocess
import sys
from pathlib import Path

from audiosep_jax.config import (
    ExecutionConfig,
    ExperimentConfig,
    MixtureConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)

SMALL = ExperimentConfig(
    name="small",
    model=ModelConfig(
        sample_rate_hz=8000,
        window_length=256,
        hop_length=64,
        encoder_widths=(8, 16),
        condition_size=26,
        unused_tensors=False,
    ),
    mixture=MixtureConfig(segment_seconds=0.5),
    optimizer=OptimizerConfig(warmup_steps=0),
    execution=ExecutionConfig(lanes=0),
    train=TrainConfig(steps=10, batch_size=8),
)
"""Compiles for a TPU in about twenty seconds of one core."""


def compile_in_a_process(experiment: Path, folder: Path, *arguments: str) -> tuple[int, dict, str]:
    """Returns exit status, the JSON report (or {}) and the standard error."""
    report, cache = folder / "report.json", folder / "cache"
    command = [sys.executable, "-m", "audiosep_jax.cli.main", "compile", str(experiment)]
    program = subprocess.run(
        [*command, "--json", str(report), *arguments],
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "JAX_PLATFORMS"}
        | {"XDG_CACHE_HOME": str(cache)},
    )
    # It would be read in vain by the next call, which would say so.
    assert not [path for path in cache.rglob("*step*") if path.is_file()]
    values = json.loads(report.read_text("utf-8")) if report.is_file() else {}
    return program.returncode, values, program.stderr
