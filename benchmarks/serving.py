"""The other side of `benchmarks.workers`: a process that answers lines of JSON. Standard library only."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def serve(ready: dict[str, Any], answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Prints `ready`, then an answer for each line of the standard input, all as lines of JSON."""
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def peak_bytes() -> int:
    """Returns the most memory that this process has held; Linux."""
    # Not getrusage: it includes what the parent held when it started this process.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
