"""Records of earlier results: skipping, names that belong to others, failures."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import separation_models
import soundfile
from separation_models import scene_file

import audiosep_jax
from audiosep_jax.audio.reading import AudioReader
from audiosep_jax.cli.main import main
from audiosep_jax.cli.separate import records, runner
from audiosep_jax.separation.files import separate_file
from audiosep_jax.separation.presence import Calibration


def run(capsys, *arguments, status=0):
    assert main(["separate", *arguments, "--json"]) == status
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return lines, last["summary"]


def test_another_encoder_at_the_same_place_is_noticed_and_a_moved_one_is_the_same(
    uncompiled, monkeypatch, model, capsys
):
    scene_file(uncompiled / "a.wav", 0.3)

    def use(fingerprint, source):
        query = dataclasses.replace(model.config.query, source=source)
        fresh = dataclasses.replace(model, config=dataclasses.replace(model.config, query=query))
        tower = separation_models.LetterCounts()
        tower.fingerprint = fingerprint
        separation_models.register(monkeypatch, tower)
        monkeypatch.setattr(audiosep_jax, "load", lambda checkpoint: fresh)

    for fingerprint, source, status in (
        ("one", "here", "done"),
        ("one", "moved/there", "skipped"),
        ("other", "moved/there", "done"),
    ):
        use(fingerprint, source)
        (line,), _ = run(capsys, "a.wav", "--query", "dog")
        assert (source, line["status"]) == (source, status)


def test_skipped_results_are_judged_by_the_calibration_of_today(uncompiled, monkeypatch, model, capsys):
    scene_file(uncompiled / "a.wav", 0.3)
    (line,), _ = run(capsys, "a.wav", "--query", "dog")
    assert line["queries"][0]["presence"] is None
    for absent, midpoint in ((True, 98), (False, -98)):
        calibration = Calibration(midpoint_db=midpoint, absent_below_db=midpoint, slope_per_db=1)
        monkeypatch.setitem(model.__dict__, "calibration", calibration)
        (line,), _ = run(capsys, "a.wav", "--query", "dog")
        assert line["status"] == "skipped"
        assert line["queries"][0]["absent"] is absent
        assert (line["queries"][0]["presence"] < 0.5) is absent
        assert len(line["warnings"]) == absent


def test_another_query_replaces_nothing_of_an_earlier_run(uncompiled, capsys):
    scene_file(uncompiled / "a.wav", 0.3)
    scene_file(uncompiled / "a.flac", 0.2)

    def made(sound, *queries):
        lines, _ = run(capsys, sound, "--query", *queries)
        return [(line["status"], Path(line["files"][0]).name.split(".")[1]) for line in lines]

    assert made("a.wav", "a dog") == [("done", "a-dog")]
    assert made("a.wav", "A, dog?!") == [("done", "a-dog-2")]
    assert made("a.flac", "a dog") == [("done", "a-dog-3")]
    assert made("a.wav", "A, dog?!", "a dog") == [("skipped", "a-dog-2"), ("skipped", "a-dog")]
    assert made("a.flac", "a dog") == [("skipped", "a-dog-3")]
    for path in (uncompiled / "separated").glob("a.a-dog.*"):
        path.unlink()  # nothing is left to replace
    assert made("a.wav", "a dog!") == [("done", "a-dog")]


def test_other_stems_leave_those_of_an_earlier_run_whole(uncompiled, capsys):
    path = scene_file(uncompiled / "a.wav", 0.3)
    names = []
    for queries in (("dog", "rain"), ("dog", "wind"), ("rain", "dog")):
        (line,), _ = run(capsys, "a.wav", "--stems", "--query", *queries)
        names.append({Path(file).name for file in line["files"]})
    assert names[0] == names[2] == {"a.dog.stem.wav", "a.rain.stem.wav", "a.rest.wav"}
    assert names[1] == {"a-2.dog.stem.wav", "a-2.wind.stem.wav", "a-2.rest.wav"}
    for each in names:
        parts = [soundfile.read(uncompiled / "separated" / name, dtype="int32")[0] for name in each]
        np.testing.assert_array_equal(sum(parts), soundfile.read(path, dtype="int32")[0])


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_record_that_cannot_be_removed_fails_with_a_sentence(uncompiled, capsys, kind):
    for name in ("a", "b"):
        scene_file(uncompiled / f"{name}.wav", 0.3)
    place = uncompiled / "separated" / ".audiosep"
    if kind == "folder":
        (place / "a.dog.json").mkdir(parents=True)
    else:
        place.parent.mkdir()
        place.touch()
    lines, _ = run(capsys, "a.wav", "b.wav", "--query", "dog", status=2)
    assert [line["status"] for line in lines] == ["failed", "done" if kind == "folder" else "failed"]
    assert ".audiosep/a.dog.json, where a record belongs, cannot be removed" in lines[0]["error"]


@pytest.mark.parametrize("debug", [False, True])
def test_a_defect_in_one_recording_leaves_the_others(uncompiled, monkeypatch, capsys, caplog, debug):
    for name in ("a", "b"):
        scene_file(uncompiled / f"{name}.wav", 0.3)
    usual = runner.separate_file

    def broken(reader, **arguments):
        if reader.path.name == "a.wav":
            raise MemoryError("no\nmore")
        return usual(reader, **arguments)

    monkeypatch.setattr(runner, "separate_file", broken)
    arguments = ["separate", "a.wav", "b.wav", "--query", "dog", *["--debug"] * debug]
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert "error: a.wav cannot be separated ('MemoryError: no\\nmore'); --debug shows" in shown.err
    assert "audiosep: 1 of 2 recordings failed" in shown.err
    assert ("Traceback" in caplog.text) is debug  # pytest takes it from the standard error
    assert "b.dog.estimate.wav" in shown.out


def test_hashing_and_measuring_stop_with_the_command(tmp_path):
    """A worker that has to stop reads no further block, even before it separates the first."""
    path = scene_file(tmp_path / "a.wav", 30)  # several blocks of samples
    told = []

    def stop():
        told.append(None)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        records.FileState(path, check=stop).values()
    assert len(told) == 1
    measured = []

    def progress(done, total):
        measured.append((done, total))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), AudioReader(path) as reader:
        separate_file(reader, stream_for=lambda *_: pytest.fail("separates"), outputs=(), progress=progress)
    assert measured == [(0, 30 * separation_models.RATE)]


def test_a_recording_is_hashed_once_however_many_results_it_has(uncompiled, monkeypatch, capsys):
    path = scene_file(uncompiled / "a.wav", 0.3)
    read = []
    usual = Path.open

    def counted(self, *arguments, **options):
        read.append(self.name)
        return usual(self, *arguments, **options)

    def readings():
        read.clear()
        with monkeypatch.context() as patch:
            patch.setattr(records.Path, "open", counted)
            lines, _ = run(capsys, "a.wav", "--query", "dog", "rain", "cab")
        return {line["status"] for line in lines}, read.count("a.wav")

    assert readings() == ({"done"}, 2)  # AudioReader looks at it, and the hash reads it
    assert readings() == ({"skipped"}, 0)
    path.touch()
    assert readings() == ({"skipped"}, 1)


def test_a_recording_that_changes_while_it_is_separated_gets_no_record(uncompiled, monkeypatch, capsys):
    path = scene_file(uncompiled / "a.wav", 0.3)
    usual = runner.separate_file

    def changing(reader, **arguments):
        path.touch()
        return usual(reader, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "separate_file", changing)
        assert run(capsys, "a.wav", "--query", "dog")[1]["done"] == 1
    assert run(capsys, "a.wav", "--query", "dog")[1]["done"] == 1
    assert run(capsys, "a.wav", "--query", "dog")[1]["skipped"] == 1
