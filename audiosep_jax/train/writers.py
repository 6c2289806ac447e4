"""Where a run's numbers go: JSON lines and TensorBoard."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tensorboardX import SummaryWriter

METRICS_FILE = "metrics.jsonl"


class MetricWriter:
    """Writes scalars, sounds and pictures by step.

    A run that is taken up again at `start_step` drops what an earlier process wrote for later steps, so
    that no step stands twice.

    Args:
      workdir: of the run; gets `metrics.jsonl` and the folder `tensorboard`.
      start_step: first step of this process.
    """

    def __init__(self, workdir: str | Path, *, start_step: int) -> None:
        workdir = Path(workdir)
        path = workdir / METRICS_FILE
        _drop_later_lines(path, start_step)
        self._lines = path.open("a", encoding="utf-8")
        # TensorBoard drops its purge step as well; what an earlier process wrote for `start_step` stays.
        purge_step = start_step + 1 if start_step else None
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=purge_step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one line of numbers."""
        self._lines.write(json.dumps({"step": step, **values}) + "\n")
        self._lines.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def audio(self, step: int, name: str, waveform: np.ndarray, *, sample_rate_hz: int) -> None:
        """Writes a waveform `[samples]` as sound."""
        self._board.add_audio(name, np.clip(waveform, -1, 1)[:, None], step, sample_rate=sample_rate_hz)

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Writes a picture, uint8 `[height, width, 3]`."""
        self._board.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Flushes and closes both."""
        self._lines.close()
        self._board.close()


def _drop_later_lines(path: Path, start_step: int) -> None:
    """Keeps the lines of steps up to `start_step`, and no line that a killed process left half-written."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= start_step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept), "utf-8")
    os.replace(temporary, path)
