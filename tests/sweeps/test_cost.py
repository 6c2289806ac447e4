"""A dry run says what the cells cost, and from what it knows."""

import dataclasses

import pytest
from sweep_folders import HOW, small_sweep, write_sweep

from audiosep_jax import cli
from audiosep_jax.config import MixtureConfig, ModelConfig
from audiosep_jax.sweeps.cost import costs_of, seconds_left
from audiosep_jax.sweeps.sweeping import run_sweep
from audiosep_jax.sweeps.workdir import RunState


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
    assert cli.main(["sweep", str(file), "--workdir", str(directory), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "twice" in said
    assert "0 of 2" in said
    assert "known when a run of this sweep has been trained" in said
    assert not directory.exists()


@pytest.mark.slow
def test_arithmetic_is_counted_and_time_comes_from_what_was_measured(sweep, tmp_path):
    directory = tmp_path / "out"
    base, twice = costs_of(sweep, directory)
    assert (base.parameters, base.steps, base.examples, twice.examples) == (twice.parameters, 2, 4, 8)
    # 3x3 kernels of 4 channels at 33 bins and 64 frames are some 1e5 multiplications each.
    assert 1e6 < base.flops < 1e9
    assert 1.8 < twice.flops / base.flops < 2.05
    assert seconds_left([base, twice]) is None
    run_sweep(dataclasses.replace(sweep, cells={"base": {}}), directory, how=HOW(), say=lambda _line: None)
    for folder in (directory / "runs").glob("base-*"):
        dataclasses.replace(RunState.read(folder), train_seconds=10.0).write(folder)
    base, twice = costs_of(sweep, directory)
    assert (base.trained, twice.trained, base.train_seconds, twice.train_seconds) == (2, 0, 10.0, None)
    assert seconds_left([base, twice]) == pytest.approx(2 * 10 * twice.flops / base.flops)


@pytest.mark.slow
def test_a_config_for_many_devices_is_counted_on_one(sweep, tmp_path):
    pod = {"train.batch_size": 4, "mesh.fsdp": 64, "execution.microbatches": 4, "train.log_every": 3}
    twice, pod = costs_of(
        dataclasses.replace(sweep, cells={"twice": {"train.batch_size": 4}, "pod": pod | {"train.steps": 6}}),
        tmp_path,
    )
    assert pod.flops == pytest.approx(3 * twice.flops)
