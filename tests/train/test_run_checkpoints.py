"""Checkpoints of a run: restored whole or not at all, and only into their own run."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import training_runs

from audiosep_jax.errors import AudioSepError
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.checkpoint import RunCheckpoints
from audiosep_jax.utils.serialization import to_dict

CONFIG = training_runs.experiment("none", keep_checkpoints=2)


def state_of(level, *, mesh=None, **changes):
    """A small state with all numbers equal to `level`, with the sharding of a step over `mesh`."""
    weights = {"kernel": np.full((8, 4), level, np.float32), "bias": np.full(3, level, np.float32)}
    count = np.full([], level, np.int32)
    state = states.TrainState(
        step=count,
        params=weights,
        batch_stats={"mean": np.full(4, level, np.float32)},
        opt_state=({"mu": weights}, count),
        ema=None,
        skipped=count,
        failed_step=count,
    )
    mesh = meshes.make_mesh() if mesh is None else mesh
    return meshes.put_state(mesh, dataclasses.replace(state, **changes))


def save(workdir, *steps, config=CONFIG):
    checkpoints = RunCheckpoints(workdir, config)
    for step in steps:
        checkpoints.save(state_of(step), step=step)
    checkpoints.close()


def restore(workdir, config=CONFIG):
    checkpoints = RunCheckpoints(workdir, config)
    try:
        return checkpoints.restore(state_of(0))
    finally:
        checkpoints.close()


def assert_holds(state, level):
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        assert (np.asarray(leaf) == level).all(), path


def test_the_newest_state_is_restored_with_its_step_and_shardings(tmp_path):
    save(tmp_path, 3, 5)
    state, step = restore(tmp_path)
    assert step == 5
    assert_holds(state, 5)
    for leaf, like in zip(jax.tree.leaves(state), jax.tree.leaves(state_of(0)), strict=True):
        assert (leaf.sharding, leaf.dtype) == (like.sharding, like.dtype)


def test_only_recent_checkpoints_stay_and_none_is_written_twice(tmp_path):
    save(tmp_path, 1, 2, 3)
    save(tmp_path, 3)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["2", "3"]


def test_an_empty_work_directory_has_none(tmp_path):
    checkpoints = RunCheckpoints(tmp_path, CONFIG)
    assert checkpoints.latest_step() is None
    checkpoints.close()


SAVE_FOREVER = """
import itertools, sys
sys.path.insert(0, {tests!r})
from test_run_checkpoints import CONFIG, RunCheckpoints, state_of
checkpoints = RunCheckpoints({workdir!r}, CONFIG)
for step in itertools.count({first}):
    checkpoints.save(state_of(step), step=step)
    print(step, flush=True)
"""


def test_a_killed_save_is_never_taken_for_a_whole_checkpoint(tmp_path):
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    save(tmp_path, 1)
    code = SAVE_FOREVER.format(tests=str(Path(__file__).parent), workdir=str(tmp_path), first=2)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(draw.randrange(1, 6)):
        process.stdout.readline()
    time.sleep(draw.uniform(0, 0.1))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    state, step = restore(tmp_path)
    assert step >= 1
    assert_holds(state, step)
    # The run goes on where the killed one stood.
    save(tmp_path, step + 1)
    assert_holds(restore(tmp_path)[0], step + 1)


def test_a_folder_that_a_save_had_not_finished_is_passed_over(tmp_path):
    save(tmp_path, 4)
    whole = tmp_path / "checkpoints" / "4"
    unfinished = tmp_path / "checkpoints" / "9.orbax-checkpoint-tmp"
    (unfinished / "state").mkdir(parents=True)
    (unfinished / "state" / "manifest.ocdbt").write_bytes(b"\0" * 10)
    assert restore(tmp_path)[1] == 4
    assert whole.is_dir()


@pytest.mark.parametrize("part", ["state", "config", "data"])
def test_a_damaged_checkpoint_is_named(tmp_path, part):
    save(tmp_path, 4)
    for path in (tmp_path / "checkpoints" / "4" / part).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:3])
    with pytest.raises(AudioSepError, match=r"checkpoints/4 cannot be read: .*Delete that folder"):
        restore(tmp_path)


def test_another_config_is_refused_and_names_what_differs(tmp_path):
    save(tmp_path, 4)
    other = dataclasses.replace(
        CONFIG,
        data=dataclasses.replace(CONFIG.data, seed=5, read_threads=9),
        train=dataclasses.replace(CONFIG.train, batch_size=8, log_every=1000),
    )
    with pytest.raises(AudioSepError) as error:
        restore(tmp_path, other)
    said = str(error.value)
    assert "data.seed was 0 and is 5; train.batch_size was 4 and is 8" in said
    assert "read_threads" not in said
    assert "log_every" not in said


def test_fields_that_change_no_step_may_change(tmp_path):
    save(tmp_path, 4)
    train = dataclasses.replace(CONFIG.train, save_every=3, log_every=9, evaluate_every=2, audio_examples=0)
    assert restore(tmp_path, dataclasses.replace(CONFIG, train=train))[1] == 4


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("mesh", {"data": 2, "fsdp": -1}),
        ("execution", {"remat": "blocks", "lanes": 128}),
        ("train", {"save_minutes": 1.5, "keep_every": 10, "profile_steps": (3, 5)}),
        ("train", {"on_non_finite": "skip", "spike_deviations": 0.0}),
    ],
)
def test_fields_of_mesh_and_execution_may_change(tmp_path, part, values):
    save(tmp_path, 4)
    changed = dataclasses.replace(CONFIG, **{part: dataclasses.replace(getattr(CONFIG, part), **values)})
    assert restore(tmp_path, changed)[1] == 4


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("execution", {"compute": "bfloat16"}),
        ("execution", {"microbatches": 2}),
        ("train", {"ema_decay": 0.99}),
        ("train", {"steps": 1000}),
    ],
)
def test_fields_that_change_the_result_of_a_step_may_not_change(tmp_path, part, values):
    save(tmp_path, 4)
    changed = dataclasses.replace(CONFIG, **{part: dataclasses.replace(getattr(CONFIG, part), **values)})
    (name,) = values
    with pytest.raises(AudioSepError, match=rf"another config \({part}\.{name} was "):
        restore(tmp_path, changed)


def test_an_average_is_restored(tmp_path):
    average = {"kernel": np.full((8, 4), 2, np.float32), "bias": np.full(3, 2, np.float32)}
    checkpoints = RunCheckpoints(tmp_path, CONFIG)
    checkpoints.save(state_of(4, ema=average), step=4)
    checkpoints.close()
    checkpoints = RunCheckpoints(tmp_path, CONFIG)
    state, _ = checkpoints.restore(state_of(0, ema=average))
    checkpoints.close()
    assert_holds(state.ema, 2)
    assert_holds(state.params, 4)


OTHER_DEVICES = """
import sys
sys.path.insert(0, {tests!r})
import numpy as np
from test_run_checkpoints import CONFIG, RunCheckpoints, assert_holds, meshes, state_of
from audiosep_jax.config import MeshConfig
for mesh in (MeshConfig(), MeshConfig(fsdp=4), MeshConfig(data=1, fsdp=2, replica=2)):
    like = state_of(0, mesh=meshes.make_mesh(mesh))
    checkpoints = RunCheckpoints({workdir!r}, CONFIG)
    state, step = checkpoints.restore(like)
    assert_holds(state, step)
    assert state.params["kernel"].sharding == like.params["kernel"].sharding
    checkpoints.save(state_of(step + 1, mesh=meshes.make_mesh(mesh)), step=step + 1)
    checkpoints.close()
print(step, state.params["kernel"].addressable_shards[0].data.shape)
"""


@pytest.mark.pod
def test_a_state_is_restored_on_other_devices_and_another_mesh(tmp_path):
    save(tmp_path, 4)
    code = OTHER_DEVICES.format(tests=str(Path(__file__).parent), workdir=str(tmp_path))
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "6 (4, 4)\n"
    assert_holds(restore(tmp_path)[0], 7)


def test_a_run_from_before_a_field_resumes_with_its_default(tmp_path, monkeypatch):
    def before(config):
        values = to_dict(config)
        del values["query"]["text_ratio"]
        return values

    with monkeypatch.context() as patch:
        patch.setattr("audiosep_jax.train.checkpoint.to_dict", before)
        save(tmp_path, 4)
    assert restore(tmp_path)[1] == 4
    half = dataclasses.replace(CONFIG, query=dataclasses.replace(CONFIG.query, text_ratio=0.5))
    with pytest.raises(AudioSepError, match=r"query\.text_ratio was 1\.0 and is 0\.5"):
        restore(tmp_path, half)
