"""Journals: files of one JSON object a line, from which a killed run resumes."""

import errno
import io
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any


def read_rows(content: bytes) -> list[dict[str, Any]]:
    r"""Returns the objects of a journal; a line that is damaged or cut off gives an empty one.

    Examples:
      >>> read_rows(b'{"row": 1}\n{"ro')
      [{'row': 1}, {}]
    """
    rows = []
    for line in content.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            row = {}
        rows.append(row if isinstance(row, dict) else {})
    return rows


def append_rows(file: io.FileIO, rows: Iterable[Mapping[str, Any]], *, durable: bool = False) -> None:
    """Writes rows to the end of a journal, a file that is opened to append, without a buffer.

    When this returns, they survive the end of the process, and if `durable` a crash of the machine, too.

    Raises:
      OSError: the disk is full or gone.
    """
    data = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    if file.write(data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if durable:
        os.fsync(file.fileno())
