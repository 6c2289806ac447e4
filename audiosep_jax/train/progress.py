"""The progress bar of a run, and the means of a log line: loss, examples per second, wait for data."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from audiosep_jax.train.goodput import Activity, Clock, DeviceClock

_PARTS: dict[str, Activity] = {"data": "data", "host": "host", "checkpoint": "save"}


class RunProgress:
    """A context manager around the loop; also computes the numbers of a log line.

    This process takes the steps from `first` to `steps`, with a global batch of `batch_size`. If there are
    several `modalities` of conditions ("text", "audio", "image"), the share of each is logged.
    """

    def __init__(
        self,
        steps: int,
        first: int,
        batch_size: int,
        *,
        clock: Clock,
        device: DeviceClock,
        modalities: Sequence[str] = ("text",),
        quiet: bool = False,
    ) -> None:
        self._clock, self._device = clock, device
        self._modalities = tuple(modalities)
        self._console = Console(quiet=quiet)
        self._bar = Progress(
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("train", total=steps, completed=first, numbers="compiling …")
        self._batch_size = batch_size
        self.begin()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self) -> None:
        """Begins a new interval."""
        self._before = self._clock.seconds()
        self._busy_before = self._device.busy_seconds()
        self._steps = 0
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._drawn: Counter[str] = Counter()

    def skipped(self, step: int) -> None:
        """Counts a skipped step."""
        self._steps += 1
        self._bar.update(self._task, completed=step + 1)
        self.note(f"step {step}: loss or gradient is not finite; skipped")

    def stepped(self, step: int, loss: float, gradient_norm: float, modality: Sequence[str]) -> None:
        """Counts a finished step; `modality` is the source of each example's condition."""
        self._steps += 1
        self._drawn.update(modality)
        self._losses.append(loss)
        self._norms.append(gradient_norm)
        if self._bar.disable:
            return
        numbers = self._numbers()
        text = (
            f"loss {loss:.4f} · {numbers['examples_per_second']:.1f} ex/s · "
            f"data wait {100 * numbers['data_wait_share']:.0f} %"
        )
        self._bar.update(self._task, completed=step + 1, numbers=text)

    def summary(self, step: int) -> dict[str, float]:
        """Returns the means since the last summary, after `step` steps, and begins a new interval."""
        numbers = self._numbers()
        if not self._console.is_terminal:
            loss = f"loss {numbers['loss']:.4f}" if self._losses else "all skipped"
            self.note(
                f"step {step}: {loss}, {numbers['examples_per_second']:.1f} examples/s, "
                f"data wait {100 * numbers['data_wait_share']:.0f} %"
            )
        self.begin()
        return numbers

    def note(self, text: str) -> None:
        """Prints a line above the bar."""
        self._bar.console.print(text, highlight=False, markup=False)

    @contextlib.contextmanager
    def doing(self, activity: Activity) -> Iterator[None]:
        """Shows an activity other than steps, and counts its time."""
        self._bar.update(self._task, numbers=f"{activity} …")
        with self._clock.doing(activity):
            yield

    def _numbers(self) -> dict[str, float]:
        spent = {name: value - self._before[name] for name, value in self._clock.seconds().items()}
        # Validation does not belong to the interval, and compilation comes before the first one.
        seconds = max(sum(spent[name] for name in ("data", "host", "device", "save")), 1e-9)
        steps = max(self._steps, 1)
        several = self._modalities if len(self._modalities) > 1 else ()
        lists = {"loss": self._losses, "gradient_norm": self._norms}
        return {
            **{name: sum(values) / len(values) for name, values in lists.items() if values},
            "examples_per_second": self._steps * self._batch_size / seconds,
            "data_wait_share": spent["data"] / seconds,
            **{f"seconds/{part}": spent[activity] / steps for part, activity in _PARTS.items()},
            "seconds/device": (self._device.busy_seconds() - self._busy_before) / steps,
            **{f"share_{name}": self._drawn[name] / max(self._drawn.total(), 1) for name in several},
        }
