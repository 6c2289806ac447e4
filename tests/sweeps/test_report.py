"""The report of a sweep: numbers, significant differences, and missing runs."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from sweep_folders import EXECUTION, MIXTURES, small_sweep, write_set

from audiosep_jax.cli import main
from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals.statistics import crossed_mean
from audiosep_jax.sweeps import workdir
from audiosep_jax.sweeps.report import markdown, sentences
from audiosep_jax.sweeps.results import Difference, read_results
from audiosep_jax.sweeps.runner import run_sweep
from audiosep_jax.utils.atomic import write_json


def quiet(_line):
    pass


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A sweep of five cells and two seeds; `same` is `base` again, `broken` has no finished run."""
    folder = tmp_path_factory.mktemp("finished")
    sweep = small_sweep(folder, "base", "better", "hardly", "same", "broken", seeds=(0, 1))
    run_sweep(sweep, folder / "out", execution=EXECUTION(at_once=2), say=quiet)
    return folder / "out"


def test_means_are_those_of_all_rows(finished):
    result = read_results(finished)
    base, better, hardly, same = result.cells
    rows = np.array([3 + 0.1 * (index % 5) + 0.003 * ((index * 7) % 3) for index in range(MIXTURES)])
    assert base.sdri_db.mean == pytest.approx(rows.mean() + 0.005)
    assert base.seed_means_db == pytest.approx((rows.mean(), rows.mean() + 0.01))
    assert (base.difference, better.attenuation_db, better.si_sdri_db) == (None, 8.0, 3.0)
    assert better.difference.sdri_db.mean == pytest.approx(2)
    assert hardly.difference.sdri_db.mean == pytest.approx(0.001)
    assert same.difference.sdri_db.mean == 0
    assert (result.mixtures, result.recordings, result.unfinished) == (MIXTURES, 5, ("broken",))
    assert [(curve.seed, curve.sdri_db) for curve in base.curves] == [(0, (1, 2)), (1, (2, 3))]


def test_sentences_name_significant_differences_and_missing_runs(finished):
    said = sentences(read_results(finished))
    assert said[0].startswith("better is 2.00 dB better than base: significant (95 % interval 1.96 … 2.04 dB")
    assert said[1].startswith(
        "hardly is 0.00100 dB better than base: significant (95 % interval 0.00098 … 0.00102 dB"
    )
    assert said[2] == (
        "same and base differ by +0.00 dB in every seed and recording; the certainty is unknown, as nothing "
        "varies."
    )
    assert said[-1] == "Not finished, by seed: broken (all)."


def test_differences_that_vary_are_not_significant(finished):
    result = read_results(finished)
    rng = np.random.default_rng(0)
    values = crossed_mean(rng.standard_normal((2, 20)) * 0.1, [str(index % 5) for index in range(20)])
    assert values.p_value > 0.05
    difference = Difference(seeds=(0, 1), sdri_db=values, corrected_p=values.p_value, significant=False)
    cells = (*result.cells[:2], dataclasses.replace(result.cells[2], difference=difference))
    said = sentences(dataclasses.replace(result, cells=cells))
    assert said[1].startswith("hardly is not significantly different from base: ")


def test_p_values_are_corrected_for_their_number(finished, monkeypatch):
    from audiosep_jax.sweeps import results

    real = results.crossed_mean
    monkeypatch.setattr(
        results,
        "crossed_mean",
        lambda *args: dataclasses.replace(real(*args), p_value=0.03, low=0.1, high=1.0),
    )
    differences = [cell.difference for cell in read_results(finished).cells if cell.difference]
    assert [one.corrected_p for one in differences] == pytest.approx([0.09, 0.09, 0.09])
    assert not any(one.significant for one in differences)


def test_the_command_writes_table_values_and_figures(finished, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "report"
    assert main.main(["sweep", "report", str(finished), "--out", str(out)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| better ")]
    assert "+2.00*" in line
    assert "1.96 … 2.04" in line  # no number is folded at the console's width
    assert sorted(path.name for path in out.iterdir()) == [
        "cells.png",
        "curves.png",
        "report.json",
        "report.md",
    ]
    text = (out / "report.md").read_text()
    assert text == markdown(read_results(finished), figures=["cells.png", "curves.png"])
    assert "| better | 2 | 5.2" in text
    assert "+2.00*" in text
    assert "| +0.00 | unknown | unknown |" in text
    assert "- better: `train.batch_size` = 2" in text
    values = json.loads((out / "report.json").read_text())
    assert values["cells"][1]["difference"]["significant"] is True
    for name in ("cells.png", "curves.png"):
        with Image.open(out / name) as image:
            assert np.asarray(image.convert("L")).std() > 5


def test_a_report_of_one_seed_says_that_it_holds_for_these_models_only(tmp_path):
    run_sweep(
        small_sweep(tmp_path, "base", "better"), tmp_path / "out", execution=EXECUTION(at_once=2), say=quiet
    )
    assert main.main(["sweep", "report", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report" / "report.md").read_text()
    assert "; with one seed this holds for these two models, not for other trainings)" in text
    values = json.loads((tmp_path / "out" / "report" / "report.json").read_text())
    assert values["cells"][0]["sdri_db"]["seed_error"] is None


def test_takes_of_one_sound_are_one_recording(tmp_path):
    takes = ("1-10-A-0.wav", "1-10-B-0.wav", "1-11-A-0.wav", "1-11-B-0.wav", "1-11-C-0.wav")
    sweep = dataclasses.replace(
        small_sweep(tmp_path, "base"), evaluation=write_set(tmp_path / "takes", files=takes)
    )
    run_sweep(sweep, tmp_path / "out", execution=EXECUTION(), say=quiet)
    result = read_results(tmp_path / "out")
    assert result.recordings == 2
    rows = np.array([3 + 0.1 * (index % 5) + 0.003 * ((index * 7) % 3) for index in range(MIXTURES)])
    groups = ["10" if index % 5 < 2 else "11" for index in range(MIXTURES)]
    assert result.cells[0].sdri_db.mixture_error == pytest.approx(
        crossed_mean(rows[None], groups).mixture_error
    )


def test_seeds_that_only_one_cell_has_are_not_compared(tmp_path):
    sweep, directory = small_sweep(tmp_path, "base", "better", seeds=(0, 1, 2)), tmp_path / "out"
    run_sweep(sweep, directory, execution=EXECUTION(at_once=2), say=quiet)
    (folder,) = (directory / "runs").glob("better-seed1-*")
    (folder / "state.json").unlink()
    better = read_results(directory).cells[1]
    assert (better.seeds, better.missing, better.difference.seeds) == ((0, 2), (1,), (0, 2))
    assert "Not finished, by seed: better (1)." in sentences(read_results(directory))
    for folder in (directory / "runs").glob("base-*"):
        (folder / "state.json").unlink()
    assert "Nothing can be compared" in sentences(read_results(directory))[0]


def test_running_a_part_of_a_sweep_keeps_finished_runs_in_the_report(tmp_path):
    sweep, directory = small_sweep(tmp_path, "base", "better", "same", seeds=(0, 1)), tmp_path / "out"
    run_sweep(sweep, directory, execution=EXECUTION(at_once=2), say=quiet)
    part = {"cells": {"base": {}, "late": {"train.batch_size": 9}}, "seeds": (2,)}
    part["cells"]["base"] = sweep.cells["base"]
    run_sweep(dataclasses.replace(sweep, **part), directory, execution=EXECUTION(at_once=2), say=quiet)
    result = read_results(directory)
    assert [(cell.cell, cell.seeds, cell.missing) for cell in result.cells] == [
        ("base", (0, 1, 2), ()),
        ("better", (0, 1), ()),
        ("same", (0, 1), ()),
        ("late", (2,), ()),
    ]
    assert [cell.difference.seeds for cell in result.cells[1:]] == [(0, 1), (0, 1), (2,)]
    assert result.seeds == (0, 1, 2)
    # With another base no run is the same, and a renamed cell does not count twice.
    renamed = {{"same": "equal"}.get(cell, cell): changes for cell, changes in sweep.cells.items()}
    run_sweep(
        dataclasses.replace(sweep, cells=renamed, seeds=(0, 1)),
        directory,
        execution=EXECUTION(at_once=2),
        say=quiet,
    )
    assert list(workdir.read_plan(directory)["cells"]) == ["base", "better", "late", "equal"]
    base = dataclasses.replace(sweep.base, train=dataclasses.replace(sweep.base.train, steps=3))
    run_sweep(dataclasses.replace(sweep, base=base), directory, execution=EXECUTION(at_once=2), say=quiet)
    plan = workdir.read_plan(directory)
    assert (list(plan["cells"]), plan["seeds"]) == (["base", "better", "same"], [0, 1])


def test_a_part_measured_on_another_set_leaves_the_rest_unfinished(tmp_path):
    sweep, directory = small_sweep(tmp_path, "base", "better", "same"), tmp_path / "out"
    run_sweep(sweep, directory, execution=EXECUTION(at_once=2), say=quiet)
    part = {cell: sweep.cells[cell] for cell in ("base", "better")}
    other = write_set(tmp_path / "other", name="other")
    run_sweep(
        dataclasses.replace(sweep, cells=part, evaluation=other), directory, execution=EXECUTION(), say=quiet
    )
    result = read_results(directory)
    assert (result.evaluation_set, [cell.cell for cell in result.cells]) == ("other", ["base", "better"])
    assert sentences(result)[-1] == "Not finished, by seed: same (all)."


def test_unfinished_or_damaged_sweeps_are_refused(tmp_path, finished):
    with pytest.raises(AudioSepError, match=r"holds no sweep \(there is no sweep.json\)"):
        read_results(tmp_path)
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(AudioSepError, match="start the sweep again, which writes it anew"):
        read_results(tmp_path)
    (tmp_path / "sweep.json").write_text((finished / "sweep.json").read_text())
    with pytest.raises(AudioSepError, match="no run of the sweep is finished"):
        read_results(tmp_path)


def test_results_of_two_sets_are_not_compared(tmp_path):
    directory = tmp_path / "out"
    run_sweep(small_sweep(tmp_path, "base", "better"), directory, execution=EXECUTION(at_once=2), say=quiet)
    (folder,) = (directory / "runs").glob("better-*")
    state = workdir.RunState.read(folder)
    dataclasses.replace(state, evaluated="another").write(folder)
    assert sentences(read_results(directory))[-1] == "Not finished, by seed: better (all)."
    plan = workdir.read_plan(directory)
    del plan["evaluation_hash"]  # as sweeps once wrote it
    write_json(directory / workdir.PLAN, plan)
    with pytest.raises(AudioSepError, match="measured on different evaluation sets"):
        read_results(directory)
    state.write(folder)
    (folder / "evaluation" / "result.json").write_text("[]")
    with pytest.raises(AudioSepError, match="cannot be read"):
        read_results(directory)
