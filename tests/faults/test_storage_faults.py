"""Storage faults: a full disk, truncated or missing files, and a run in a bucket."""

import contextlib
import os
import resource
import shutil
import subprocess

import fake_gcs
import faulty_runs
import pytest

pytestmark = [pytest.mark.pod, pytest.mark.timeout(3000)]


def test_a_disk_that_fills_up_during_a_save_stops_the_run(undisturbed, experiment_file, cache, tmp_path):
    """From some step on no file may exceed 60 kB: the log stays below, the arrays' metadata does not."""
    workdir = tmp_path / "run"
    process = faulty_runs.start(experiment_file, workdir, cache=cache)
    faulty_runs.wait_for(lambda: len(faulty_runs.checkpoints(workdir)) >= 1, process)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 2, output
    reached = faulty_runs.checkpoints(workdir)[-1]
    (said,) = (line for line in output.splitlines() if line.startswith("audiosep: error: "))
    assert "could not be written" in said
    assert "File too large" in said
    assert f"it resumes from the checkpoint of step {reached}." in said
    assert "Traceback" not in output
    print(f"last logged step {faulty_runs.step_of(workdir)}, last whole checkpoint {reached}")
    # It was noticed at the next step, not at the end: at most one more save later.
    assert faulty_runs.step_of(workdir) <= reached + 2 * faulty_runs.SAVE_EVERY
    faulty_runs.finished(faulty_runs.start(experiment_file, workdir, cache=cache))
    faulty_runs.assert_same_bits(undisturbed, workdir)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_stops_the_run_which_resumes_with_more_room(
    undisturbed, experiment_file, cache, small_disk, tmp_path
):
    """Another program fills the disk to the last block during the run."""
    workdir, ballast = small_disk / "run", small_disk / "ballast"
    process = faulty_runs.start(experiment_file, workdir, cache=cache)
    faulty_runs.wait_for(lambda: len(faulty_runs.checkpoints(workdir)) >= 1, process)
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 2, output
    (said,) = (line for line in output.splitlines() if line.startswith("audiosep: error: "))
    assert "No space left on device" in said
    assert "Traceback" not in output
    whole = faulty_runs.checkpoints(workdir)
    assert whole, said
    print(said)
    ballast.unlink()
    faulty_runs.finished(faulty_runs.start(experiment_file, workdir, cache=cache))
    faulty_runs.assert_same_bits(undisturbed, workdir)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_checkpoint_stops_the_run_and_the_one_before_is_intact(
    undisturbed, experiment_file, cache, tmp_path, damage
):
    workdir = tmp_path / "run"
    process = faulty_runs.start(experiment_file, workdir, cache=cache)
    faulty_runs.wait_for(lambda: len(faulty_runs.checkpoints(workdir)) == 2, process)
    process.kill()
    process.communicate()
    before, newest = faulty_runs.checkpoints(workdir)[-2:]
    folder = workdir / "checkpoints" / str(newest)
    # The largest holds arrays at its beginning, and what nobody reads again at its end.
    victim = max((folder / "state").rglob("d/*"), key=lambda path: path.stat().st_size)
    if damage == "gone":
        victim.unlink()
    else:
        os.truncate(victim, 100)
    process = faulty_runs.start(experiment_file, workdir, cache=cache)
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 2, output
    (said,) = (line for line in output.splitlines() if line.startswith("audiosep: error: "))
    assert f"checkpoint {folder} cannot be read" in said
    assert "Delete that folder to resume from the checkpoint before" in said
    # As the error says:
    shutil.rmtree(folder)
    assert faulty_runs.checkpoints(workdir)[-1] == before
    faulty_runs.finished(faulty_runs.start(experiment_file, workdir, cache=cache))
    faulty_runs.assert_same_bits(undisturbed, workdir)


def test_a_run_in_a_bucket_survives_a_kill(undisturbed, experiment_file, cache, tmp_path):
    with fake_gcs.serving() as (address, bucket):
        settings = fake_gcs.environment(address) | {"XDG_CACHE_HOME": str(tmp_path)}
        bucket.put("run/", b"")

        def whole():
            names = [name.split("/") for name in bucket.objects]
            return {int(name[2]) for name in names if name[1] == "checkpoints" and name[3:] == [_MARK]}

        process = faulty_runs.start(experiment_file, "gs://bucket/run", cache=cache, **settings)
        faulty_runs.wait_for(lambda: len(whole()) >= 2, process)
        process.kill()
        process.communicate()
        print(f"killed with checkpoints {sorted(whole())} and {len(bucket.objects)} objects")
        faulty_runs.finished(faulty_runs.start(experiment_file, "gs://bucket/run", cache=cache, **settings))
        objects = {name: content for name, (content, _) in bucket.objects.items()}
    local = tmp_path / "fetched"
    for name, content in objects.items():
        if not name.endswith("/"):
            path = local / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    assert sorted(whole())[-1] == faulty_runs.STEPS
    assert not (local / "run" / ".lock").exists()
    faulty_runs.assert_same_bits(undisturbed, local / "run")


_MARK = "commit_success.txt"
