"""`audiosep prepare` as a process that a signal ends, and that is resumed."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pipelines_sounds import digests, prepared, tone, write_table, write_wav

# Like the installed command; a shell that runs the tests in the background would have SIGINT ignored.
PROGRAM = (
    "import signal, sys; from audiosep_jax.cli.main import main;"
    "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main())"
)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
     pytest.param(signal.SIGKILL, -9, marks=pytest.mark.slow)],
)  # fmt: skip
def test_the_command_resumes_after_a_signal(tmp_path, number, status):
    source = tmp_path / "source"
    rows = [{"file": f"{n}.wav", "captions": "a", "label": str(n)} for n in range(24)]
    for n, row in enumerate(rows):
        write_wav(source / row["file"], np.stack([tone(n, seconds=3, rate=44_100)] * 2, 1), rate=44_100)
    write_table(source / "clips.csv", rows)

    def command(out, workers):
        options = ["--source", source, "--out", out, "--clips-per-shard", 4, "--workers", workers]
        return [sys.executable, "-c", PROGRAM, "prepare", "audio_folder", *map(str, options)]

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command(tmp_path / "out", 1), **pipes) as running:
        while not list(tmp_path.glob(".out.preparing/*/*.jsonl")) and running.poll() is None:
            time.sleep(0.005)
        running.send_signal(number)
        _, said = running.communicate(timeout=60)
    assert running.returncode == status, said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
    done = subprocess.run(command(tmp_path / "out", 2), check=True, **pipes)
    (found,) = re.findall(r"resuming after (\d+) finished clips", done.stdout)
    assert 0 < int(found) < 24
    options = {"sample_rate_hz": 32_000, "clips_per_shard": 4}
    assert digests(tmp_path / "out") == digests(prepared(source, tmp_path / "whole", **options))
    assert sorted(os.listdir(tmp_path)) == ["out", "source", "whole"]
