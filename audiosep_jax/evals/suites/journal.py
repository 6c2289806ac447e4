"""Measured rows on disk, from which a killed run resumes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from audiosep_jax.errors import EvaluationError, StorageError, listed, printable
from audiosep_jax.evals.suites.mixtures import Row
from audiosep_jax.utils.atomic import write_json
from audiosep_jax.utils.journal import append_rows, read_rows
from audiosep_jax.utils.locks import locked

RUN_FILE = "run.json"
ROWS_FILE = "rows.jsonl"
VERSION = 2

Key = tuple[str, str, str]


def fingerprint_of(rows: Sequence[Row]) -> str:
    """Returns a hash of the mixtures of rows, their queries and their SNRs."""
    lines = []
    for row in rows:
        mixture = row.mixture
        ratios = (mixture.mix_at_db, mixture.snr_db)
        lines.append(json.dumps([*row.key, row.query.text, *ratios, mixture.label, mixture.source]))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class Journal:
    """The rows of a run that are measured, in a folder of results. One process at a time holds it.

    Args:
      folder: of the results; it is made.
      run: JSON values that the results depend on. A folder with other values is refused.
      stamps: of the files, by dataset and id. A row whose files have another stamp is measured again; a row
        whose files have none is kept.

    Raises:
      StorageError: the folder cannot be written, or is in use.
      EvaluationError: the folder holds another run, or is damaged.
    """

    def __init__(
        self, folder: Path, run: Mapping[str, Any], stamps: Mapping[tuple[str, str], str] | None = None
    ) -> None:
        self.folder = folder
        self._stamps = dict(stamps or {})
        self.values: dict[Key, dict[str, float]] = {}
        self._path = self.folder / ROWS_FILE
        busy = f"another process measures into {printable(self.folder)}"
        self._file = locked(self._path, busy=busy, instead="choose another --out")
        try:
            self._check_run({"version": VERSION, **run})
            self._read()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, values: Mapping[Key, Mapping[str, float]]) -> None:
        """Adds the rows of a batch; when it returns, they are on the disk.

        Raises:
          StorageError: the disk is full or gone.
        """
        rows = [
            {
                **dict(zip(("dataset", "id", "kind"), key, strict=True)),
                "files": self._stamps.get(key[:2], ""),
                "metrics": dict(metrics),
            }
            for key, metrics in values.items()
        ]
        try:
            append_rows(self._file, rows, durable=True)
        except OSError as error:
            raise StorageError(
                f"{printable(self._path)} cannot be written: {error.strerror}; make room and start again: "
                "what is measured is kept."
            ) from error
        self.values.update({key: dict(metrics) for key, metrics in values.items()})

    def _check_run(self, run: dict[str, Any]) -> None:
        path = self.folder / RUN_FILE
        # JSON turns tuples into lists, and values are compared with those of a file.
        run = json.loads(json.dumps(run))
        if not path.exists():
            if self._path.stat().st_size:
                raise EvaluationError(
                    f"{printable(self.folder)} holds rows without {RUN_FILE}, which names their run: "
                    "choose another --out."
                )
            write_json(path, run)
            return
        try:
            before = json.loads(path.read_text("utf-8"))
            different = sorted(
                name for name in {*before, *run} if before.get(name) != run.get(name) or name not in before
            )
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise EvaluationError(f"{printable(path)} is damaged: choose another --out.") from error
        if different:
            raise EvaluationError(
                f"{printable(self.folder)} holds the results of another run (different: "
                f"{listed(different)}): choose another --out."
            )

    def _read(self) -> None:
        self._file.seek(0)
        whole = self._file.read()
        # A process that was killed while it wrote leaves a line without its end.
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            self._file.truncate(end)
        for number, row in enumerate(read_rows(whole[:end]), start=1):
            try:
                key = (row["dataset"], row["id"], row["kind"])
                metrics = {name: float(value) for name, value in row["metrics"].items()}
                if row["files"] == self._stamps.get(key[:2], row["files"]):
                    self.values[key] = metrics
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise EvaluationError(
                    f"{printable(self._path)} is damaged in line {number}: remove that line, and its mixture "
                    "is measured again."
                ) from error
