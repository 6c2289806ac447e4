"""The costs that a dry run prints."""

import dataclasses
import io

import pytest
from rich.console import Console
from sweep_folders import EXECUTION, small_sweep, write_sweep

from audiosep_jax.cli import main
from audiosep_jax.config import MixtureConfig, ModelConfig
from audiosep_jax.sweeps import cost
from audiosep_jax.sweeps.console import print_whole
from audiosep_jax.sweeps.cost import cost_table, costs_of, seconds_left
from audiosep_jax.sweeps.runner import run_sweep
from audiosep_jax.sweeps.workdir import RunState


def quiet(_line):
    pass


@pytest.fixture
def sweep(tmp_path):
    one = small_sweep(tmp_path, "base", seeds=(0, 1))
    model = ModelConfig(
        sample_rate_hz=8000, window_length=64, hop_length=32, encoder_widths=(4, 4), condition_size=8
    )
    base = dataclasses.replace(one.base, model=model, mixture=MixtureConfig(segment_seconds=0.25))
    base = dataclasses.replace(base, train=dataclasses.replace(base.train, batch_size=2))
    return dataclasses.replace(one, base=base, cells={"base": {}, "twice": {"train.batch_size": 4}})


def test_a_dry_run_prints_cells_and_costs_and_writes_nothing(sweep, tmp_path, capsys):
    sweep = dataclasses.replace(sweep, cells={"twice": {"train.batch_size": 4}})
    file, directory = write_sweep(tmp_path / "sweep.py", sweep), tmp_path / "out"
    assert main.main(["sweep", str(file), "--workdir", str(directory), "--dry-run"]) == 0
    said, beside = capsys.readouterr()
    assert beside == "counting the operations of train step 1 of 1 (some seconds each): twice\n"
    assert "twice" in said
    assert "0 of 2" in said
    assert "unknown until a run of this sweep has been trained" in said
    assert not directory.exists()


def test_cells_of_one_network_are_counted_once(sweep, tmp_path, monkeypatch):
    counted, lines = [], []
    monkeypatch.setattr(cost, "_step_flops", lambda config: counted.append(config) or 1.0)
    cells = {
        "base": {},
        "loss": {"train.loss": "snr"},
        "adam": {"optimizer.kind": "adam", "mixture.sources": 3, "model.magnitude_power": 0.3},
        "film": {"model.film": "scale_shift"},
        "batch": {"train.batch_size": 4},
        "longer": {"mixture.segment_seconds": 0.5},
        "half": {"execution.compute": "bfloat16"},
    }
    costs_of(dataclasses.replace(sweep, cells=cells), tmp_path, say=lines.append)
    assert len(set(counted)) == 5
    assert [line.partition("each): ")[2] for line in lines] == [
        "base, loss, adam",
        "film",
        "batch",
        "longer",
        "half",
    ]


@pytest.mark.parametrize(("width", "boxed"), [(80, False), (100, True)])
def test_a_table_is_whole_in_a_narrow_console(sweep, width, boxed):
    one = cost.CellCost(
        cell="scale-and-shift",
        parameters=26_447_941,
        steps=200_000,
        examples=19_200_000,
        flops=3e18,
        trained=1,
        runs=3,
        train_seconds=60.0,
    )
    file = io.StringIO()
    print_whole(Console(width=width, file=file), cost_table(sweep, [one]))
    said = file.getvalue()
    (line,) = [line for line in said.splitlines() if "scale-and-shift" in line]
    for text in ("26,447,941", "200,000", "19,200,000", "3,000,000", "1 of 3", "1.0"):
        assert text in line
    assert ("┃" in said) == boxed
    assert max(len(one) for one in said.splitlines() if "|" not in one) <= width
    assert "Training them one after the other takes about 2 minutes" in said


@pytest.mark.slow
def test_the_losses_hardly_add_operations(sweep):
    config = sweep.config("base", 0)
    other = dataclasses.replace(config, train=dataclasses.replace(config.train, loss="snr"))
    one, another = (cost._step_flops.__wrapped__(given) for given in (config, other))
    assert one != another
    assert one == pytest.approx(another, rel=1e-2)
    assert cost.step_flops(config) == cost.step_flops(other)


@pytest.mark.slow
def test_operations_are_counted_and_times_come_from_trained_runs(sweep, tmp_path):
    directory = tmp_path / "out"
    base, twice = costs_of(sweep, directory, say=quiet)
    assert (base.parameters, base.steps, base.examples, twice.examples) == (twice.parameters, 2, 4, 8)
    # 3x3 kernels of 4 channels at 33 bins and 64 frames are some 1e5 multiplications each.
    assert 1e6 < base.flops < 1e9
    assert 1.8 < twice.flops / base.flops < 2.05
    assert seconds_left([base, twice]) is None
    run_sweep(dataclasses.replace(sweep, cells={"base": {}}), directory, execution=EXECUTION(), say=quiet)
    for folder in (directory / "runs").glob("base-*"):
        dataclasses.replace(RunState.read(folder), train_seconds=10.0).write(folder)
    base, twice = costs_of(sweep, directory, say=quiet)
    assert (base.trained, twice.trained, base.train_seconds, twice.train_seconds) == (2, 0, 10.0, None)
    assert seconds_left([base, twice]) == pytest.approx(2 * 10 * twice.flops / base.flops)


@pytest.mark.slow
def test_a_config_for_many_devices_is_counted_on_one(sweep, tmp_path):
    pod = {"train.batch_size": 4, "mesh.fsdp": 64, "execution.microbatches": 4, "train.log_every": 3}
    twice, pod = costs_of(
        dataclasses.replace(sweep, cells={"twice": {"train.batch_size": 4}, "pod": pod | {"train.steps": 6}}),
        tmp_path,
        say=quiet,
    )
    assert pod.flops == pytest.approx(3 * twice.flops)
