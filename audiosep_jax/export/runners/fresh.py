"""Reloads an export in a process that cannot import this project, and times it.

  python -I fresh.py RUN.py FOLDER JOB.npz RESULT.npz MAX_CALLS MAX_SECONDS REFUSED...

JOB.npz holds, for case 0, 1, …: `i/function`, `i/signal`, `i/condition`. RESULT.npz gets `i/result` and
`i/seconds`, one duration per call after the first.
"""

import importlib.abc
import runpy
import sys
import time
from pathlib import Path

import numpy as np


class Refusal(importlib.abc.MetaPathFinder):
    """Refuses to import what the export must not need."""

    def __init__(self, names: list[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Raises for a refused package and knows nothing of the others."""
        if fullname.partition(".")[0] in self._names:
            raise ImportError(f"{fullname} is refused: an export must run without it")


def main(argv: list[str]) -> None:
    """Runs all cases of a job."""
    script, folder, job_file, result_file, max_calls, max_seconds, *refused = argv
    sys.meta_path.insert(0, Refusal(refused))
    load = runpy.run_path(script, run_name="run")["load"]
    job, results, functions = np.load(job_file), {}, {}
    for case in range(len(job.files) // 3):
        name = str(job[f"{case}/function"])
        if name not in functions:
            functions[name] = load(name, Path(folder))
        arguments = (job[f"{case}/signal"], job[f"{case}/condition"])
        results[f"{case}/result"] = functions[name](*arguments)
        seconds: list[float] = []
        while len(seconds) < int(max_calls) and sum(seconds) < float(max_seconds):
            started = time.perf_counter()
            functions[name](*arguments)
            seconds.append(time.perf_counter() - started)
        results[f"{case}/seconds"] = np.array(seconds)
    there = sorted(set(refused) & set(sys.modules))
    if there:
        raise SystemExit(f"{', '.join(there)} came in although refused")
    np.savez(result_file, **results)


if __name__ == "__main__":
    main(sys.argv[1:])
