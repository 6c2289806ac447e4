"""Speed of exports and of the live model on this machine.

Run `python -m benchmarks.exports`. A model is exported in both formats and loaded in a process of its own.
The function from waveform to waveform is timed: seven warm calls, or fewer if they take more than 20 s
together. "÷ live" is the ratio of the medians, 1 for equal speed. The model of the released widths has random
weights, which take as long as trained ones.
"""

import dataclasses
import functools
import statistics
import tempfile
from pathlib import Path

import jax
import numpy as np

from audiosep_jax.checkpoints import folder
from audiosep_jax.checkpoints.bundled import BUNDLED_CHECKPOINT
from audiosep_jax.config import ExperimentConfig, ModelConfig
from audiosep_jax.export import check, exporter
from audiosep_jax.models import separator
from benchmarks import timing

_MAX_SECONDS = 20.0  # of the warm calls of a case


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Measure StableHLO and ONNX exports beside the live model."""

    checkpoint: tuple[Path, ...] = ()
    """Folders of models; without any, the bundled one and a random one of the released widths."""
    seconds: float = 5.0
    """Length of the window."""
    batch: tuple[int, ...] = (1, 3)
    """Batch sizes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """Warm calls of one model in one form; `live` is the median of the live model for the same batch."""

    model: str
    form: str
    batch: int
    seconds: tuple[float, ...]
    live: float

    def cells(self) -> list[str]:
        """Returns a row of the table."""
        times = timing.spread(self.seconds, lambda seconds: f"{1e3 * seconds:.0f}")
        ratio = statistics.median(self.seconds) / self.live
        return [self.model, self.form, str(self.batch), *times, f"{ratio:.2f}"]


def measure(args: BenchmarkArgs) -> list[Measurement]:
    """Exports and times every model.

    Raises:
      AudioSepError: a checkpoint cannot be loaded, or onnx is not installed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        places = args.checkpoint or (BUNDLED_CHECKPOINT, _released_widths(Path(scratch)))
        return [each for place in places for each in _measure(place, Path(scratch), args)]


def _measure(place: Path, scratch: Path, args: BenchmarkArgs) -> list[Measurement]:
    checkpoint = folder.load(place)
    config = checkpoint.config.model
    rng = np.random.default_rng(0)
    cases = []
    for batch in args.batch:
        waveform = 0.1 * rng.standard_normal((batch, round(args.seconds * config.sample_rate_hz)), np.float32)
        condition = rng.standard_normal((batch, config.condition_size), np.float32)
        cases.append(("whole", waveform, timing.unit(condition)))
    live = jax.jit(functools.partial(separator.apply, config))
    variables = jax.device_put(checkpoint.variables)
    measured = {
        "live": [
            check.timed(lambda c=case: live(variables, *c[1:]), max_seconds=_MAX_SECONDS)[1] for case in cases
        ]
    }
    for export_format in ("stablehlo", "onnx"):
        out = exporter.export(
            place,
            scratch / f"{checkpoint.config.name}-{export_format}",
            export_format=export_format,
            functions=("whole",),
            window_seconds=args.seconds,
        )
        ran = check.run_fresh(out, export_format, cases, max_seconds=_MAX_SECONDS)
        measured[export_format] = [tuple(seconds) for _, seconds in ran]
    return [
        Measurement(
            model=checkpoint.config.name,
            form=form,
            batch=batch,
            seconds=seconds[index],
            live=statistics.median(measured["live"][index]),
        )
        for index, batch in enumerate(args.batch)
        for form, seconds in measured.items()
    ]


def table(measurements: list[Measurement]) -> str:
    """Returns a Markdown table with a row per measurement."""
    columns = ("model", "form", "batch", "min, ms", "median, ms", "max, ms", "÷ live")
    return timing.markdown(columns, [each.cells() for each in measurements], left=2)


def _released_widths(scratch: Path) -> Path:
    config = ExperimentConfig(name="released widths", model=ModelConfig())
    folder.save(scratch / "released", config, separator.init(config.model, jax.random.key(0)))
    return scratch / "released"


if __name__ == "__main__":
    timing.run(lambda args: table(measure(args)), BenchmarkArgs)
