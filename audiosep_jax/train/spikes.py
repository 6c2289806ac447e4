"""Loss spikes (losses far above their recent mean) and skipped steps, recorded with their batch."""

import collections
import math
import statistics
from typing import Any

from audiosep_jax.errors import TrainingError, listed
from audiosep_jax.train.step import StepMetrics
from audiosep_jax.train.writers import JsonLines
from data_pipelines.mixtures.pipeline import MixtureBatch

FILE = "spikes.jsonl"
WINDOW = 200
SMALLEST_WINDOW = 30
MOST_SKIPPED_IN_A_ROW = 25


class SpikeDetector:
    """Compares every loss with up to `WINDOW` losses before it, if there are at least `SMALLEST_WINDOW`.

    A loss is a spike if it is `deviations` standard deviations above their mean; 0 finds none. A spike joins
    the window like any loss, so a loss that stays high soon counts as normal. A resumed run begins with an
    empty window.
    """

    def __init__(self, deviations: float) -> None:
        self._deviations = deviations
        self._losses: collections.deque[float] = collections.deque(maxlen=WINDOW)

    def look(self, loss: float) -> dict[str, float] | None:
        """Adds a loss to the window; returns mean and standard deviation of those before if it is a spike."""
        if not self._deviations:
            return None
        spike = None
        if len(self._losses) >= SMALLEST_WINDOW:
            mean = statistics.fmean(self._losses)
            deviation = math.sqrt(statistics.fmean((value - mean) ** 2 for value in self._losses))
            if loss > mean + self._deviations * deviation:
                spike = {"mean": mean, "deviation": deviation}
        self._losses.append(loss)
        return spike


class StepWatch:
    """Records spikes and skipped steps in `spikes.jsonl`.

    A line holds the step, its loss (null if it is not finite), whether it was skipped, mean and deviation of
    the losses before it, and caption, modality and files of every example of this process. `skipped` counts
    from the number of steps that earlier processes skipped.
    """

    def __init__(self, lines: JsonLines, *, deviations: float, skipped: int) -> None:
        self._lines = lines
        self._detector = SpikeDetector(deviations)
        self.skipped = skipped
        self._in_a_row = 0

    def look(self, step: int, metrics: StepMetrics, batch: MixtureBatch) -> bool:
        """Returns False if the step was skipped.

        Raises:
          TrainingError: `MOST_SKIPPED_IN_A_ROW` steps in a row were skipped: data or state are broken.
        """
        loss, skipped = float(metrics.loss), int(metrics.skipped)
        if skipped == self.skipped:
            self._in_a_row = 0
            if spike := self._detector.look(loss):
                self._write(step, batch, {"loss": loss, "skipped": False, **spike})
            return True
        self.skipped = skipped
        self._in_a_row += 1
        self._write(step, batch, {"loss": loss if math.isfinite(loss) else None, "skipped": True})
        if self._in_a_row >= MOST_SKIPPED_IN_A_ROW:
            files = sorted({file for files in batch.ids for file in files})
            raise TrainingError(
                f"steps {step + 1 - self._in_a_row} to {step} were all skipped because loss or gradient were "
                f'not finite: start again with train.on_non_finite="stop" to keep the next such batch, '
                f"and look at {FILE}; the last batch held {listed(files)}."
            )
        return False

    def _write(self, step: int, batch: MixtureBatch, values: dict[str, Any]) -> None:
        self._lines.write({"step": step, **values, "examples": examples(batch)})


def examples(batch: MixtureBatch) -> list[dict[str, Any]]:
    """Returns caption, modality and files of each example of a batch."""
    return [
        {"caption": caption, "modality": modality, "files": files}
        for caption, modality, files in zip(batch.captions, batch.modality, batch.ids, strict=True)
    ]
