"""Kills builds at every step and resumes them: python kill_points.py SOURCE FOLDER EVERY.

Prints the number of steps of a build. Each build is a process of its own, forked from this one, which has
imported everything and started no thread.
"""

import hashlib
import os
import signal
import sys
from pathlib import Path

from data_pipelines.corpora.audio_folder import AudioFolder
from data_pipelines.prepare import encoding
from data_pipelines.prepare.build import prepare

STEPS = ("rename", "replace", "link", "unlink", "rmdir", "mkdir", "fsync")


def build(source, out, *, workers, at=None, **options):
    """Builds in a process of its own, killed before step `at`; returns how it ended and its steps."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        steps = 0

        def counted(function):
            def call(*args, **kwargs):
                nonlocal steps
                steps += 1
                if steps == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)

            return call

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        encoding.Recorder.__call__ = counted(encoding.Recorder.__call__)
        options = {"sample_rate_hz": 8000, "clips_per_shard": 4, **options}
        try:
            prepare(
                lambda work: AudioFolder(source=source, data_dir=work, workers=workers, **options),
                out,
                overwrite=True,
            )
        finally:
            os.write(writing, str(steps).encode())
            os._exit(0)
    os.close(writing)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(reading) as pipe:
        return status, int(pipe.read() or 0)


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(folder).iterdir()}


def main(source, folder, every):
    folder = Path(folder)
    _, steps = build(source, folder / "undisturbed", workers=1)
    wanted = digests(folder / "undisturbed")
    assert len([name for name in wanted if "array_record" in name]) == 3
    for at in range(1, steps + 1, int(every)):
        out = folder / "out" / str(at)
        status, _ = build(source, out, workers=1, at=at)
        assert status == signal.SIGKILL, (at, status)
        there = out.exists()
        assert not there or digests(out) == wanted, at  # complete, or not there
        status, again = build(source, out, workers=3)
        assert status == 0, (at, status)
        assert digests(out) == wanted, at
        assert os.listdir(out.parent) == [str(at)], at
        # If the dataset was complete, the second build finds only an empty folder and builds anew.
        assert there or again <= steps + 2, (at, again)
        os.rename(out, folder / f"done {at}")
    print(steps)


if __name__ == "__main__":
    main(*sys.argv[1:])
