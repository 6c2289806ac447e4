"""Writes the numbers of a run: JSON lines and TensorBoard."""

import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]

from audiosep_jax.errors import StorageError
from audiosep_jax.train.workdir import Workdir
from audiosep_jax.utils.atomic import replacing

METRICS_FILE = "metrics.jsonl"
BOARD_FOLDER = "tensorboard"
_LARGEST_EVENT_FILE = 16 << 20
_ADVICE = (
    "make room or permit it, then start the same command again: the run resumes from its newest checkpoint"
)


class JsonLines:
    """A file with one JSON object per line, each with its step.

    A run that resumes at `start_step` drops the lines of later steps, so that no step appears twice. The
    "step" of this file is the number of steps taken, or, if `counted` is 0, the index of a step. The file is
    created with its first line.

    Raises:
      StorageError: the file cannot be written.
    """

    def __init__(self, workdir: Workdir, name: str, *, start_step: int, counted: int = 1) -> None:
        self._workdir, self._name = workdir, name
        self._path = workdir.local / name
        self._file = None
        with _named(self._path):
            workdir.fetch(name)
            _drop_later_lines(self._path, start_step - 1 + counted)

    def write(self, values: Mapping[str, Any]) -> None:
        """Writes one line; it is in the file when this returns."""
        with _named(self._path):
            if self._file is None:
                self._file = self._path.open("ab", buffering=0)
            line = json.dumps(values).encode() + b"\n"
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def copy_later(self) -> None:
        """Copies the file to the bucket in the background."""
        self._workdir.copy_later(self._name)

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
        self.copy_later()


class MetricWriter:
    """Writes scalars, sounds and pictures by step, to `metrics.jsonl` and the folder `tensorboard`.

    Records of steps after `start_step`, the first step of this process, are dropped.
    """

    def __init__(self, workdir: Workdir, *, start_step: int) -> None:
        self._lines = JsonLines(workdir, METRICS_FILE, start_step=start_step)
        self._workdir, self._start_step = workdir, start_step
        self._folder = workdir.local / BOARD_FOLDER
        self._files = 0
        with _named(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._board = self._open_board()
            if start_step:
                # TensorBoard also drops the purge step itself, which must stay: so purge from the next one.
                start = SessionLog(status=SessionLog.START)
                self._board.write_event(Event(step=start_step + 1, wall_time=time.time(), session_log=start))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one line of numbers."""
        self._lines.write({"step": step, **values})
        for name, value in values.items():
            self._add(step, summary.scalar(name, value))
        with _named(self._folder):
            self._board.flush()

    def audio(self, step: int, name: str, waveform: np.ndarray, *, sample_rate_hz: int) -> None:
        """Writes a waveform `[samples]` as sound."""
        self._add(step, summary.audio(name, np.clip(waveform, -1, 1)[:, None], sample_rate=sample_rate_hz))

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Writes a picture, uint8 `[height, width, 3]`."""
        self._add(step, summary.image(name, pixels, dataformats="HWC"))

    def copy_later(self) -> None:
        """Copies the written records to the bucket in the background."""
        if not self._workdir.remote:
            return
        self._lines.copy_later()
        self._board.flush()
        file = Path(self._name)
        self._workdir.copy_later(f"{BOARD_FOLDER}/{file.name}")
        if file.stat().st_size > _LARGEST_EVENT_FILE:
            # Each copy is of the whole file: begin a new one before that gets slow.
            self._board.close()
            self._board = self._open_board()

    def close(self) -> None:
        """Flushes and closes both."""
        self._lines.close()
        with _named(self._folder):
            self._board.close()
        self._workdir.copy_later(f"{BOARD_FOLDER}/{Path(self._name).name}")

    def _open_board(self) -> EventsWriter:
        # Not tensorboardX's SummaryWriter: its thread dies on a full disk, and then the loop hangs.
        # TensorBoard reads files in the order of their names, which begin with the time in seconds.
        suffix = f".{self._start_step:010d}.{self._files:04d}.{os.getpid()}"
        self._files += 1
        board = EventsWriter(str(self._folder / "events"), filename_suffix=suffix)
        self._name = board._file_name
        return board

    def _add(self, step: int, what: Any) -> None:
        with _named(self._folder):
            self._board.write_event(Event(step=step, wall_time=time.time(), summary=what))


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}; {_ADVICE}.") from error


def _drop_later_lines(path: Path, last_step: int) -> None:
    """Removes the lines of steps after `last_step`, and the half-written line of a killed process."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= last_step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    with replacing(path, advice=_ADVICE) as temporary:
        temporary.write_text("".join(kept), "utf-8")
