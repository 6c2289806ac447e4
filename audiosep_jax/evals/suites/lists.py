"""Reading the lists of the benchmarks: CSV files whose columns are taken by place or by name."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from audiosep_jax.errors import EvaluationError, printable, shown


def read_rows(
    path: Path, *, columns: Sequence[str], synonyms: Mapping[str, str] | None = None
) -> list[list[str]]:
    """Returns the rows of a CSV file below its header.

    Columns count by their place: Clotho's header names one twice.

    Args:
      path: the file, UTF-8.
      columns: the header that it must have.
      synonyms: other names that columns may have; if given, the columns may stand in any order, and rows are
        returned in that of `columns`.

    Raises:
      AudioSepError: the file is missing, unreadable or empty, or a row has another number of cells.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except FileNotFoundError:
        raise EvaluationError(
            f"{printable(path)} does not exist: give --metadata the folder with the benchmark's list."
        ) from None
    except (OSError, ValueError, csv.Error) as error:
        raise EvaluationError(f"{printable(path)} is not a readable CSV file: {shown(error)}.") from error
    names = [cell.strip() for cell in header]
    places = list(range(len(columns)))
    if synonyms is not None:
        names = [synonyms.get(name, name) for name in names]
        if sorted(names) == sorted(columns):
            places = [names.index(name) for name in columns]
            names = list(columns)
    if names != list(columns):
        raise EvaluationError(
            f"{printable(path)} has the columns {shown(', '.join(header))}, but {', '.join(columns)} are "
            "needed: give the benchmark's own list."
        )
    rows = [row for row in rows if row]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise EvaluationError(
                f"{printable(path)} has {len(row)} cells in row {number}, but {len(columns)} are needed: "
                "quote cells that hold commas."
            )
    if not rows:
        raise EvaluationError(f"{printable(path)} lists no mixture: get a complete copy of it.")
    return [[row[place] for place in places] for row in rows]
