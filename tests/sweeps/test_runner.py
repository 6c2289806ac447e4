"""Finished runs are skipped, interrupted ones resume, and failed ones do not stop others."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sweep_folders
from sweep_folders import EXECUTION, log, small_sweep, write_set, write_sweep

from audiosep_jax.cli import main
from audiosep_jax.errors import AudioSepError
from audiosep_jax.sweeps import runner, workdir
from audiosep_jax.sweeps.runner import run_sweep
from audiosep_jax.utils.atomic import write_json

HELPERS = Path(__file__).parents[1] / "helpers"


def outcomes(done):
    return {one.name: one.outcome for one in done}


def quiet(_line):
    pass


def start(sweep_file, directory, *options):
    return subprocess.Popen(
        [
            *(sys.executable, str(HELPERS / "run_fake_sweep.py")),
            *("sweep", str(sweep_file), "--workdir", str(directory), *options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{HELPERS}:{os.environ.get('PYTHONPATH', '')}"},
    )


def wait_for(condition, *, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def trains(directory, cell):
    return (directory / "runs").is_dir() and "trains from step" in log(directory, cell)


def test_every_run_has_a_folder_and_finished_ones_are_skipped(tmp_path):
    sweep, directory, lines = small_sweep(tmp_path, "base", "better", seeds=(0, 3)), tmp_path / "out", []
    first = run_sweep(sweep, directory, execution=EXECUTION(at_once=2), say=lines.append)
    assert set(outcomes(first).values()) == {"finished"}
    folders = sorted(path.name.rpartition("-")[0] for path in (directory / "runs").iterdir())
    assert folders == ["base-seed0", "base-seed3", "better-seed0", "better-seed3"]
    before = log(directory, "better", 3)
    assert before.count("trains from step 0") == before.count("evaluates") == 1
    assert len([line for line in lines if "finished" in line]) == 4
    again = run_sweep(sweep, directory, execution=EXECUTION(), say=quiet)
    assert set(outcomes(again).values()) == {"skipped"}
    assert log(directory, "better", 3) == before


def test_a_new_seed_or_cell_runs_beside_the_old_ones(tmp_path):
    directory = tmp_path / "out"
    run_sweep(small_sweep(tmp_path, "base"), directory, execution=EXECUTION(), say=quiet)
    done = run_sweep(
        small_sweep(tmp_path, "base", "same", seeds=(0, 1)), directory, execution=EXECUTION(), say=quiet
    )
    assert outcomes(done) == {
        "base seed 0": "skipped",
        "same seed 0": "finished",
        "base seed 1": "finished",
        "same seed 1": "finished",
    }


def test_a_config_and_an_experiment_file_repeat_a_run(tmp_path):
    from audiosep_jax.config.loading import load_experiment

    sweep, directory = small_sweep(tmp_path, "base", seeds=(5,)), tmp_path / "out"
    run_sweep(sweep, directory, execution=EXECUTION(), say=quiet)
    (folder,) = (directory / "runs").iterdir()
    config = load_experiment(folder / "experiment.py")
    assert config == sweep.config("base", 5)
    assert (config.train.seed, config.data.seed) == (5, 5)


@pytest.mark.parametrize("cell", ["broken", "unmeasurable"])
def test_a_failed_cell_does_not_stop_others_and_is_named_at_the_end(tmp_path, capsys, monkeypatch, cell):
    monkeypatch.setattr(runner, "Execution", EXECUTION)
    sweep = write_sweep(tmp_path / "sweep.py", small_sweep(tmp_path, "base", cell, "better"))
    assert main.main(["sweep", str(sweep), "--workdir", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "base seed 0: finished" in said.out
    assert "better seed 0: finished" in said.out
    reason = {"broken": "the clips of broken are gone. (exit status 2)", "unmeasurable": "not finite. (exit"}
    assert f"{cell} seed 0: failed: " in said.out
    assert "1 of 3 runs failed" in said.err
    assert reason[cell] in said.err
    assert "log.txt" in said.err
    # The next attempt resumes this run only.
    again = run_sweep(
        small_sweep(tmp_path, "base", cell, "better"), tmp_path / "out", execution=EXECUTION(), say=quiet
    )
    assert outcomes(again)[f"{cell} seed 0"] == "failed"
    assert log(tmp_path / "out", cell).count("$ audiosep evaluate") == 2 * (cell == "unmeasurable")
    assert log(tmp_path / "out", cell).count("$ audiosep train") == 1 + (cell == "broken")


def test_another_evaluation_set_measures_again_without_training(tmp_path):
    sweep, directory = small_sweep(tmp_path, "base"), tmp_path / "out"
    run_sweep(sweep, directory, execution=EXECUTION(), say=quiet)
    write_set(tmp_path / "set", name="other")
    path = Path(sweep.evaluation.evaluation_set)
    path.write_text((tmp_path / "set" / "other.json").read_text())
    assert set(outcomes(run_sweep(sweep, directory, execution=EXECUTION(), say=quiet)).values()) == {
        "finished"
    }
    assert log(directory, "base").count("$ audiosep train") == 1
    assert log(directory, "base").count("evaluates") == 2


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_stops_the_trainings_which_save_and_resume_later(tmp_path, number, status):
    sweep = small_sweep(tmp_path, "base", "other", "third", steps=150)
    file, directory = write_sweep(tmp_path / "sweep.py", sweep), tmp_path / "out"
    process = start(file, directory, "--jobs", "2")
    wait_for(lambda: trains(directory, "base") and trains(directory, "other"))
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert "Traceback" not in said
    for cell in ("base", "other"):
        assert "saved at step" in log(directory, cell)
    assert log(directory, "third") == ""
    again = start(file, directory, "--jobs", "3")
    said, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    saved = log(directory, "base").split("saved at step ")[1].split()[0]
    assert int(saved) > 0
    assert f"trains from step {saved}\n" in log(directory, "base")
    assert "all 3 runs are finished" in said


@pytest.mark.slow
def test_a_second_signal_ends_a_training_that_does_not_stop(tmp_path):
    sweep = small_sweep(tmp_path, "stubborn", steps=10_000)
    file, directory = write_sweep(tmp_path / "sweep.py", sweep), tmp_path / "out"
    process = start(file, directory)
    wait_for(lambda: trains(directory, "stubborn"))
    process.send_signal(signal.SIGINT)
    time.sleep(1.0)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


@pytest.mark.slow
def test_the_signal_of_an_evaluation_is_repeated(tmp_path):
    file = write_sweep(tmp_path / "sweep.py", small_sweep(tmp_path, "forgetful"))
    process = start(file, tmp_path / "out")
    wait_for(
        lambda: (tmp_path / "out" / "runs").is_dir() and "evaluates" in log(tmp_path / "out", "forgetful")
    )
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


def test_the_training_of_a_killed_sweep_keeps_other_sweeps_out(tmp_path):
    sweep = small_sweep(tmp_path, "base", steps=100)
    file, directory = write_sweep(tmp_path / "sweep.py", sweep), tmp_path / "out"
    process = start(file, directory)
    wait_for(lambda: trains(directory, "base"))
    process.kill()
    process.communicate(timeout=60)
    with pytest.raises(
        AudioSepError, match=r"another sweep works in .*out, or a training that one left behind"
    ):
        run_sweep(sweep, directory, execution=EXECUTION(), say=quiet)
    (steps,) = (directory / "runs").glob("*/train")
    wait_for(lambda: (steps / "metrics.jsonl").exists())
    wait_for(lambda: not locked(directory))
    assert outcomes(run_sweep(sweep, directory, execution=EXECUTION(), say=quiet)) == {
        "base seed 0": "finished"
    }
    assert "trains from step 100" in log(directory, "base")


def locked(directory):
    try:
        with workdir.only_sweep_in(directory):
            return False
    except AudioSepError:
        return True


def test_two_sweeps_do_not_share_a_work_directory(tmp_path):
    directory = tmp_path / "out"
    with workdir.only_sweep_in(directory), pytest.raises(AudioSepError, match="another sweep works in"):
        run_sweep(small_sweep(tmp_path, "base"), directory, execution=EXECUTION(), say=quiet)
    run_sweep(small_sweep(tmp_path, "base"), directory, execution=EXECUTION(), say=quiet)
    plan = workdir.read_plan(directory)
    write_json(directory / "sweep.json", plan | {"name": "first"})
    with pytest.raises(AudioSepError, match="holds the sweep first: choose another --workdir for small"):
        run_sweep(small_sweep(tmp_path, "base"), directory, execution=EXECUTION(), say=quiet)


def test_a_folder_of_another_config_is_refused(tmp_path):
    sweep, directory = small_sweep(tmp_path, "base"), tmp_path / "out"
    run_sweep(sweep, directory, execution=EXECUTION(), say=quiet)
    (folder,) = (directory / "runs").iterdir()
    config = json.loads((folder / "config.json").read_text())
    config["train"]["loss"] = "snr"  # as if the default had been another one then
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(AudioSepError, match=r"another config \(train.loss was 'snr' and is 'l1'\)"):
        run_sweep(sweep, directory, execution=EXECUTION(), say=quiet)


def test_a_run_with_a_damaged_state_runs_again(tmp_path):
    sweep, directory = small_sweep(tmp_path, "base"), tmp_path / "out"
    run_sweep(sweep, directory, execution=EXECUTION(), say=quiet)
    (folder,) = (directory / "runs").iterdir()
    (folder / "state.json").write_text('{"trained": tr')
    assert outcomes(run_sweep(sweep, directory, execution=EXECUTION(), say=quiet)) == {
        "base seed 0": "finished"
    }


def test_a_run_whose_folder_cannot_be_written_fails_alone(tmp_path):
    sweep, directory = small_sweep(tmp_path, "base", "better"), tmp_path / "out"

    def block(line):
        if line.startswith("base seed 0: starts"):
            (folder,) = (directory / "runs").glob("base-*")
            (folder / "log.txt").mkdir()

    done = run_sweep(sweep, directory, execution=EXECUTION(), say=block)
    assert outcomes(done) == {"base seed 0": "failed", "better seed 0": "finished"}
    assert "Is a directory" in done[0].reason


def test_mistakes_are_found_before_anything_runs(tmp_path):
    sweep, directory = small_sweep(tmp_path, "base"), tmp_path / "out"
    (tmp_path / "set" / "3.wav").unlink()
    with pytest.raises(AudioSepError, match=r"1 of 5 files .* missing below .*3\.wav"):
        run_sweep(sweep, directory, execution=EXECUTION(), say=quiet)
    assert not directory.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--jobs", "0"], "--jobs is 0: give a positive number."),
        (["--resources", "GPU=1"], "add --executor ray"),
        (["--executor", "ray", "--resources", "GPU"], "--resources 'GPU': write NAME=NUMBER"),
        (["--cells", "bases"], "sweep small has no cell bases; it has base, better."),
        (["--seeds", "1", "1"], "the seeds [1, 1]: give one or more different whole numbers of at least 0."),
        (["--set", "train.step=3"], "has no field train.step"),
        (
            ["--evaluation-set", "none.json"],
            "evaluation set none.json cannot be read: No such file or directory; give another one as "
            "--evaluation-set.",
        ),
    ],
)
def test_invalid_options_are_refused(tmp_path, capsys, options, said):
    sweep = write_sweep(tmp_path / "sweep.py", small_sweep(tmp_path, "base", "better"))
    assert main.main(["sweep", str(sweep), "--workdir", str(tmp_path / "out"), *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_options_select_cells_seeds_and_fields(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runner, "Execution", EXECUTION)
    sweep = write_sweep(tmp_path / "sweep.py", small_sweep(tmp_path, "base", "better", "same"))
    options = ["--cells", "same", "--seeds", "4", "--set", "train.steps=3"]
    assert main.main(["sweep", str(sweep), "--workdir", str(tmp_path / "out"), *options]) == 0
    plan = workdir.read_plan(tmp_path / "out")
    assert list(plan["cells"]) == ["base", "same"]
    assert plan["seeds"] == [4]
    (folder,) = (tmp_path / "out" / "runs").glob("same-seed4-*")
    assert json.loads((folder / "config.json").read_text())["train"]["steps"] == 3


def test_ray_that_is_not_installed_is_one_sentence(tmp_path, monkeypatch):
    from audiosep_jax.sweeps import ray_cluster

    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(AudioSepError, match=r"pip install 'audiosep_jax\[ray\]'"):
        run_sweep(
            small_sweep(tmp_path, "base"),
            tmp_path / "out",
            execution=sweep_folders.EXECUTION(executor="ray"),
            say=quiet,
        )
