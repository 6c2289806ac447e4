"""Any damaged file of a checkpoint: the checkpoint is refused by name, or restored unchanged."""

import json
import shutil
from pathlib import Path

import orbax.checkpoint as ocp
import pytest
from test_run_checkpoints import assert_holds, restore, save

from audiosep_jax.errors import AudioSepError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("saved")
    save(workdir, 3, 7)
    return workdir


@pytest.mark.parametrize(
    "damage",
    ["cut", pytest.param("emptied", marks=pytest.mark.pod), pytest.param("gone", marks=pytest.mark.pod)],
)
def test_no_damaged_file_changes_what_is_restored(saved, tmp_path, damage):
    files = [path.relative_to(saved) for path in (saved / "checkpoints" / "7").rglob("*") if path.is_file()]
    assert len(files) > 10
    refused = set()
    for number, name in enumerate(files):
        copy = tmp_path / str(number)
        shutil.copytree(saved, copy)
        content = (copy / name).read_bytes()
        if damage == "gone":
            (copy / name).unlink()
        else:
            (copy / name).write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
        said = ""
        try:
            state, step = restore(copy)
            assert step == 7, name
            assert_holds(state, 7)
        except AudioSepError as error:
            said = str(error)
        if said:
            assert f"{copy}/checkpoints/7 cannot be read: " in said
            assert "Delete that folder to resume from the checkpoint before" in said
            refused.add(str(name))
        # As the error says; the one before is as it was.
        shutil.rmtree(copy / "checkpoints" / "7")
        if number % 5 == 0:
            assert_holds(restore(copy)[0], 3)
    # What holds numbers, their description and the position cannot be missed.
    for part in ("data/metadata", "config/metadata", "state/_METADATA", "state/manifest.ocdbt"):
        assert f"checkpoints/7/{part}" in refused
    assert any("/d/" in name for name in refused)


@pytest.mark.parametrize("part", ["state", "config", "data"])
def test_a_missing_part_is_named(saved, tmp_path, part):
    shutil.copytree(saved, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "7" / part)
    with pytest.raises(AudioSepError, match=r"checkpoints/7 cannot be read: .*Delete that folder"):
        restore(tmp_path / "run")


def test_a_data_position_that_differs_from_the_state_is_damage(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "7" / "data" / "metadata").write_text(
        json.dumps({"step": 9, "seed": 0})
    )
    with pytest.raises(AudioSepError, match="its data are at step 9, its state at step 7"):
        restore(tmp_path / "run")


def test_an_older_state_without_average_and_count_is_restored(tmp_path):
    """Saves a state of the older structure, without average and count of skipped steps."""
    save(tmp_path, 4)
    folder = tmp_path / "checkpoints" / "4" / "state"
    with ocp.StandardCheckpointer() as reader:
        stored = reader.restore(folder)
        del stored["skipped"]
        shutil.rmtree(folder)
        reader.save(folder, stored)
    state, step = restore(tmp_path)
    assert step == 4
    assert state.ema is None
    assert int(state.skipped) == 0  # that of the state it was restored into
    assert (state.params["kernel"] == 4).all()


def test_a_state_that_lacks_more_is_refused(tmp_path):
    save(tmp_path, 4)
    folder = Path(tmp_path) / "checkpoints" / "4" / "state"
    with ocp.StandardCheckpointer() as reader:
        stored = reader.restore(folder)
        del stored["batch_stats"]
        shutil.rmtree(folder)
        reader.save(folder, stored)
    with pytest.raises(AudioSepError, match="checkpoints/4 cannot be read"):
        restore(tmp_path)
