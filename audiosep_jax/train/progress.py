"""What a person sees of a run: a bar with loss, examples per second, and the share of time spent on data."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class RunProgress:
    """A context manager around the loop; also sums up what one log line says.

    Args:
      steps: of the whole run.
      first: step that this process starts from.
      batch_size: global.
      modalities: what conditions may be taken from; the share of each is summed up where there are several.
    """

    def __init__(
        self, steps: int, first: int, batch_size: int, *, modalities: Sequence[str] = ("text",)
    ) -> None:
        self._modalities = tuple(modalities)
        self._console = Console()
        self._bar = Progress(
            TextColumn("train"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("train", total=steps, completed=first, numbers="compiling …")
        self._batch_size = batch_size
        self._start_interval()

    def __enter__(self) -> "RunProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def waited(self, seconds: float) -> None:
        """Adds time in which the loop waited for data."""
        self._wait += seconds

    def stepped(self, step: int, loss: float, gradient_norm: float, modality: Sequence[str]) -> None:
        """Counts a finished step; `modality` is what the condition of each example was taken from."""
        self._drawn.update(modality)
        self._losses.append(loss)
        self._norms.append(gradient_norm)
        numbers = self._numbers()
        text = (
            f"loss {loss:.4f} · {numbers['examples_per_second']:.1f} ex/s · "
            f"data wait {100 * numbers['data_wait_share']:.0f} %"
        )
        self._bar.update(self._task, completed=step + 1, numbers=text)

    def summary(self) -> dict[str, float]:
        """Returns the means since the last summary and begins a new interval."""
        numbers = self._numbers()
        if not self._console.is_terminal:
            step = int(self._bar.tasks[0].completed)
            self._console.print(
                f"step {step}: loss {numbers['loss']:.4f}, {numbers['examples_per_second']:.1f} examples/s, "
                f"data wait {100 * numbers['data_wait_share']:.0f} %",
                highlight=False,
            )
        self._start_interval()
        return numbers

    def note(self, text: str) -> None:
        """Prints a line above the bar."""
        self._bar.console.print(text, highlight=False, markup=False)

    @contextlib.contextmanager
    def paused(self, what: str) -> Iterator[None]:
        """Leaves the time of a validation out of the interval."""
        self._bar.update(self._task, numbers=f"{what} …")
        started = time.perf_counter()
        yield
        self._started += time.perf_counter() - started

    def _start_interval(self) -> None:
        self._started = time.perf_counter()
        self._wait = 0.0
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._drawn: Counter[str] = Counter()

    def _numbers(self) -> dict[str, float]:
        seconds = max(time.perf_counter() - self._started, 1e-9)
        count = max(len(self._losses), 1)
        several = self._modalities if len(self._modalities) > 1 else ()
        shares = {f"share_{name}": self._drawn[name] / max(self._drawn.total(), 1) for name in several}
        return {
            "loss": sum(self._losses) / count,
            "gradient_norm": sum(self._norms) / count,
            "examples_per_second": len(self._losses) * self._batch_size / seconds,
            "data_wait_share": self._wait / seconds,
            **shares,
        }
