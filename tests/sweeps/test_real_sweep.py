"""A whole sweep with real trainings: interrupted, resumed, and reported."""

import csv
import dataclasses
import json
import sys
from pathlib import Path

import pytest
import soundfile
import sweep_folders
import training_runs

from audiosep_jax.cli import main
from audiosep_jax.evals.evaluation_set import Entry, EvaluationSet, Source, save_evaluation_set
from audiosep_jax.sweeps import runner
from audiosep_jax.sweeps.definition import Evaluation, Sweep

# `audiosep` with the encoder of the small runs.
PROGRAM = f"""
import sys
sys.path.insert(0, {str(Path(training_runs.__file__).parent)!r})
from audiosep_jax.encoders import base
base.ENCODERS["letters"] = "training_runs"
from audiosep_jax.cli.main import main
sys.exit(main())
"""


def write_set(source, path):
    with (source / "clips.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    entries = [
        Entry(
            target=Source(file=one["file"], label=one["label"]),
            interferer=Source(file=other["file"], label=other["label"]),
            caption=one["captions"],
        )
        for one in rows
        for other in rows
        if one["label"] != other["label"]
    ]
    given = EvaluationSet(
        name="tones", sample_rate_hz=training_runs.RATE, seconds=1.0, seed=0, entries=tuple(entries)
    )
    save_evaluation_set(given, path)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_two_cells_and_two_seeds_are_trained_measured_and_compared(tmp_path, monkeypatch, capsys):
    dataset = training_runs.write_dataset(tmp_path)
    write_set(tmp_path / "source", tmp_path / "set.json")
    assert soundfile.info(tmp_path / "source" / "low0.wav").samplerate == training_runs.RATE
    base = training_runs.experiment(dataset, steps=60)
    base = dataclasses.replace(
        base,
        data=dataclasses.replace(base.data, validation=(str(dataset),)),
        train=dataclasses.replace(base.train, evaluate_every=20),
    )
    sweep = Sweep(
        name="real",
        base=base,
        cells={"base": {}, "hardly-learns": {"optimizer.learning_rate": 1e-6}},
        seeds=(0, 1),
        evaluation=Evaluation(evaluation_set=str(tmp_path / "set.json"), root=str(tmp_path / "source")),
    )
    how = runner.Execution
    monkeypatch.setattr(
        runner, "Execution", lambda **given: how(**given, program=(sys.executable, "-c", PROGRAM))
    )
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    file = sweep_folders.write_sweep(tmp_path / "sweep.py", sweep)
    directory = tmp_path / "out"
    assert main.main(["sweep", str(file), "--workdir", str(directory), "--jobs", "2"]) == 0
    assert main.main(["sweep", "report", str(directory)]) == 0
    assert "hardly-learns is" in capsys.readouterr().out
    values = json.loads((directory / "report" / "report.json").read_text())
    base, other = values["cells"]
    assert (values["mixtures"], values["recordings"]) == (54, 9)
    assert base["sdri_db"]["mean"] > other["sdri_db"]["mean"] + 1
    assert other["difference"]["sdri_db"]["mean"] < -1
    assert [curve["steps"] for curve in base["curves"]] == [[20, 40, 60]] * 2
    # Same seeds, other parameters: the runs are not copies of each other.
    assert len({round(mean, 6) for cell in (base, other) for mean in cell["seed_means_db"]}) == 4
