"""The progress bar of every command."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)


def progress_bar(console: Console, *, percent: bool = False, **options: Any) -> Progress:
    """Returns a bar with description, progress and remaining time; it runs while it is entered.

    `percent` shows the share that is done, as for samples; otherwise it shows "12/200", as for files.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),  # a file name may look like markup
        BarColumn(),
        TaskProgressColumn() if percent else MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        **options,
    )


@contextlib.contextmanager
def counted(
    description: str, *, console: Console, total: int | None = None, **options: Any
) -> Iterator[Callable[[int, int], None]]:
    """Shows one `progress_bar` for the length of a block; yields what moves it, called with (done, total).

    The total is None while it is unknown.
    """
    with progress_bar(console, **options) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done, total: bar.update(task, completed=done, total=total)
