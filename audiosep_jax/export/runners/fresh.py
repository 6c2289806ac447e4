"""Reloads an export in a process that cannot import this project, and times it.

  python -I fresh.py RUN.py FOLDER JOB.npz RESULT.npz MAX_CALLS MAX_SECONDS REFUSED...

JOB.npz holds, for case 0, 1, …: `i/function`, `i/signal`, `i/condition`. RESULT.npz gets `i/result` and
`i/seconds`, one duration per call after the first. A line "done i" on standard output says that case i has
run; a line "failed REASON" says why the process fails.
"""

import importlib.abc
import runpy
import sys
import time
from pathlib import Path

import numpy as np


class Refusal(importlib.abc.MetaPathFinder):
    """Refuses to import packages that the export must not need."""

    def __init__(self, names: list[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Raises for a refused package and leaves others to the other finders."""
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
        # At least one call; no more if the next would exceed the time.
        while not seconds or (
            len(seconds) < int(max_calls) and sum(seconds) + seconds[-1] <= float(max_seconds)
        ):
            started = time.perf_counter()
            functions[name](*arguments)
            seconds.append(time.perf_counter() - started)
        results[f"{case}/seconds"] = np.array(seconds)
        print(f"done {case}", flush=True)
    there = sorted(set(refused) & set(sys.modules))
    if there:
        raise ImportError(f"{', '.join(there)} were imported although refused")
    np.savez(result_file, allow_pickle=False, **results)


def reason(error: Exception) -> str:
    """Returns an exception as one line; messages of compilers have many lines."""
    text = " ".join(str(error).split()) or "without a message"
    return f"{type(error).__name__}: {text if len(text) <= 300 else f'{text[:299]}…'}"


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Exception as failure:  # the runtime of the export may raise anything
        print(f"\nfailed {reason(failure)}", flush=True)
        raise
