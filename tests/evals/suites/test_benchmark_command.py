"""The command audiosep benchmark, and a run that is killed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import benchmark_folders
import numpy as np
import pytest
from benchmark_models import random_checkpoint

from audiosep_jax.cli import main
from audiosep_jax.encoders import base

HELPERS = Path(__file__).parents[2] / "helpers"


@pytest.fixture(autouse=True)
def _letters(monkeypatch):
    monkeypatch.setitem(base.ENCODERS, "letters", "benchmark_models")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("command")
    benchmark_folders.audiosep(root / "sounds", root / "lists", rate=16_000)
    benchmark_folders.dcase(root / "dcase", root / "lists", rate=16_000)
    benchmark_folders.voicebank(root / "voicebank", root / "lists", rate=16_000)
    random_checkpoint(root / "a", seed=0, name="first")
    random_checkpoint(root / "b", seed=1, name="second")
    return root


def arguments(folders, out, *more, suite="dcase", root="dcase", checkpoint="a"):
    given = {"suite": suite, "root": folders / root, "metadata": folders / "lists", "out": out}
    given |= {"checkpoint": folders / checkpoint}
    return ["benchmark", *(part for key, value in given.items() for part in (f"--{key}", str(value))), *more]


def test_two_checkpoints_are_measured_and_compared(folders, tmp_path, capsys):
    for name in ("a", "b"):
        assert main.main(arguments(folders, tmp_path / name, checkpoint=name)) == 0
    shown = capsys.readouterr().out
    assert "second on dcase" in shown
    assert f"results: {tmp_path / 'b'}" in shown
    result = json.loads((tmp_path / "a" / "result.json").read_text("utf-8"))
    values = [row["metrics"]["sdr_db"] for row in result["rows"]]
    assert result["datasets"][0]["kinds"][0]["values"]["sdr_db"]["mean"] == pytest.approx(np.mean(values))
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "result.json",
        "rows.jsonl",
        "run.json",
        "snr-dcase.png",
        "summary.png",
        "table.md",
    }
    pair = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main.main(["benchmark", "--compare", *pair, "--out", str(tmp_path / "c")]) == 0
    assert "second minus first on dcase" in (tmp_path / "c" / "comparison.md").read_text("utf-8")
    assert json.loads((tmp_path / "c" / "comparison.json").read_text("utf-8"))["after"] == "second"
    # Another checkpoint does not resume the run of the first one.
    assert main.main(arguments(folders, tmp_path / "a", checkpoint="b")) == 2
    assert "different: checkpoint, model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--suite", "dcase"], "--root, --out not given"),
        (["--compare", "a", "b", "--suite", "dcase"], "--suite: --compare only reads two results; remove"),
        (
            [
                *(
                    "--compare",
                    "a",
                    "b",
                    "--out",
                    "c",
                    "--clap",
                    "x",
                    "--queries",
                    "q.csv",
                    "--datasets",
                    "y",
                ),
                *("--kinds", "label", "--allow-missing", "--batch-size", "2", "--workers", "1"),
            ],
            "--datasets, --queries, --kinds, --clap, --allow-missing, --batch-size, --workers: --compare",
        ),
        (
            ["--suite", "rendered", "--root", "a", "--out", "b", "--metadata", "c"],
            "--metadata: a rendered corpus has its list in --root",
        ),
        (["--batch-size", "-1"], "--batch-size is -1"),
    ],
)
def test_a_users_mistake_is_one_sentence(given, message, capsys):
    assert main.main(["benchmark", *given]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_metric_package_is_named_before_anything_is_loaded(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pesq", None)
    status = main.main(
        arguments(folders, tmp_path / "out", suite="voicebank", root="voicebank", checkpoint="none")
    )
    assert status == 2
    assert "pip install 'audiosep_jax[benchmark]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# The first argument is a pause in seconds after every batch, so that a signal comes in the middle of the run.
PROGRAM = """
import sys, time
from audiosep_jax.evals.suites.journal import Journal
from audiosep_jax.cli.main import main
from audiosep_jax.encoders import base

base.ENCODERS["letters"] = "benchmark_models"
pause, append = float(sys.argv.pop(1)), Journal.append

def slowly(self, values):
    append(self, values)
    time.sleep(pause)

Journal.append = slowly
sys.exit(main())
"""


def start(pause, log, *argv):
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(HELPERS), os.environ.get("PYTHONPATH", "")]),
    }
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(pause), *argv],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


@pytest.mark.slow
def test_a_killed_run_resumes_and_writes_the_same_bytes(folders, tmp_path):
    given = {"suite": "audiosep", "root": "sounds"}
    log = tmp_path / "log.txt"
    whole = start(0, log, *arguments(folders, tmp_path / "whole", **given))
    assert whole.wait(600) == 0, log.read_text()
    out, kills = tmp_path / "killed", 0
    rows = out / "rows.jsonl"
    for reached in (3, 11, 24):
        process = start(0.3, log, *arguments(folders, out, **given))
        ends = time.monotonic() + 300
        while not rows.exists() or rows.read_bytes().count(b"\n") < reached:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < ends
            time.sleep(0.02)
        process.kill()
        kills += process.wait() == -9
        assert not (out / "result.json").exists()
    assert kills == 3
    assert 24 <= rows.read_bytes().count(b"\n") < 40
    last = start(0, log, *arguments(folders, out, **given))
    assert last.wait(600) == 0, log.read_text()
    for name in ("result.json", "table.md", "classes.md"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert rows.read_bytes().count(b"\n") == 40


@pytest.mark.extras
def test_speech_is_measured_by_the_packages(folders, tmp_path):
    assert main.main(arguments(folders, tmp_path, suite="voicebank", root="voicebank")) == 0
    row = json.loads((tmp_path / "result.json").read_text("utf-8"))["rows"][0]
    assert 1 <= row["metrics"]["pesq"] <= 4.65
    assert set(row["metrics"]) >= {"pesq", "csig", "cbak", "covl", "segsnr_db", "stoi", "sdri_db"}
