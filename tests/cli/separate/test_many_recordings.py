"""`audiosep separate` on folders and patterns: search, skipping, failures, jobs."""

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from separation_models import scene_file

from audiosep_jax.cli.main import main
from audiosep_jax.cli.separate import discovery, runner
from audiosep_jax.cli.separate.discovery import find
from audiosep_jax.errors import AudioSepError
from audiosep_jax.separation.presence import Calibration


def tree(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(*inputs, out="out"):
    return [
        (str(each.path), str(each.folder)) for each in find([Path(path) for path in inputs], out=Path(out))
    ]


def test_folders_are_searched_once_and_results_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree(tmp_path, "a/1.wav", "a/b/2.FLAC", "a/notes.txt", "a/.hidden.wav", "a/.git/3.wav", "a/out/1.x.wav")
    (tmp_path / "a" / "b" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "loop.wav").symlink_to("loop.wav")
    wanted = [("a/1.wav", "."), ("a/b/2.FLAC", "b"), ("a/loop.wav", ".")]
    assert found("a", out="a/out") == wanted
    assert found("a/1.wav", "a", out="a/out") == [("a/1.wav", "."), *wanted[1:]]
    (tmp_path / "a/.git/3.wav").unlink()
    with pytest.raises(AudioSepError, match="results cannot go into a, whose"):
        found("a", out="a/../a")
    with pytest.raises(AudioSepError, match=r"The folder a/\.git holds no sound"):
        found("a/.git")


def test_patterns_match_folders_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree(tmp_path, "x/1.wav", "x/y/2.wav", "x/y/z/3.ogg", "x/y/4.txt", "x/[live].wav")
    assert found("x/*.wav") == [("x/1.wav", "."), ("x/[live].wav", ".")]
    assert [path for path, _ in found("x/**")] == ["x/1.wav", "x/[live].wav", "x/y/2.wav", "x/y/z/3.ogg"]
    assert found("x/**/*.wav") == [("x/1.wav", "."), ("x/[live].wav", "."), ("x/y/2.wav", "y")]
    assert found("x/*/*") == [("x/y/2.wav", "y")]
    assert found("x/y/*.txt") == [("x/y/4.txt", ".")]
    assert found("x/[live].wav") == [("x/[live].wav", ".")]
    assert found("missing.wav") == [("missing.wav", ".")]
    for pattern in ("x/*.flac", "nowhere/*.wav"):
        with pytest.raises(AudioSepError, match=r"matches no sound file"):
            found(pattern)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(discovery.os, "listdir", refuse)
    with pytest.raises(AudioSepError, match=r"cannot be read \(Permission denied\)"):
        find([tmp_path], out=Path("out"))


def shown(capsys):
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(line) == {"summary"} for line in lines] == [False] * (len(lines) - 1) + [True]
    return lines[:-1], lines[-1]["summary"]


def run(capsys, *arguments, status=0):
    assert main(["separate", *arguments, "--json"]) == status
    return shown(capsys)


def test_a_result_is_skipped_only_if_all_that_made_it_is_the_same(uncompiled, capsys):
    (uncompiled / "in").mkdir()
    scene_file(uncompiled / "in" / "a.wav", 0.5)
    scene_file(uncompiled / "in" / "b.wav", 0.5)
    lines, summary = run(capsys, "in", "--query", "dog")
    assert summary == {"done": 2, "skipped": 0, "failed": 0}
    before = {path: path.stat().st_mtime_ns for path in (uncompiled / "separated").glob("*.wav")}
    again, summary = run(capsys, "in", "--query", "dog")
    assert summary == {"done": 0, "skipped": 2, "failed": 0}
    assert [{**line, "status": "done"} for line in again] == lines
    assert {path: path.stat().st_mtime_ns for path in before} == before

    # One query more: the other is not made again, whose files keep their times.
    _, summary = run(capsys, "in", "--query", "dog", "rain")
    assert summary == {"done": 2, "skipped": 2, "failed": 0}
    # A copy of the results elsewhere in time is still the same results.
    os.utime(uncompiled / "separated" / "a.dog.estimate.wav", ns=(0, 0))
    assert run(capsys, "in", "--query", "dog")[1]["skipped"] == 2
    # The same name, other sound of the same size.
    scene_file(uncompiled / "in" / "a.wav", 0.5, rate=4000, channels=2)
    assert run(capsys, "in", "--query", "dog")[1] == {"done": 1, "skipped": 1, "failed": 0}
    # A result that is damaged, lost, or made otherwise; a record that is damaged.
    estimate = uncompiled / "separated" / "b.dog.estimate.wav"
    estimate.write_bytes(estimate.read_bytes()[:-2] + b"\x07\x07")
    assert run(capsys, "in", "--query", "dog")[1]["done"] == 1
    (uncompiled / "separated" / "b.dog.residual.wav").unlink()
    assert run(capsys, "in", "--query", "dog")[1]["done"] == 1
    assert run(capsys, "in", "--query", "dog", "--channel-mask", "shared")[1]["done"] == 2
    assert run(capsys, "in", "--query", "dog", "--high-band", "extend")[1]["done"] == 2
    (uncompiled / "separated" / ".audiosep" / "b.dog.json").write_text('{"maker": 1')
    assert run(capsys, "in", "--query", "dog", "--high-band", "extend")[1] == {
        "done": 1,
        "skipped": 1,
        "failed": 0,
    }
    assert run(capsys, "in", "--query", "dog", "--high-band", "extend", "--again")[1]["done"] == 2


def test_several_jobs_give_the_same_as_one(uncompiled, capsys):
    (uncompiled / "in").mkdir()
    for index in range(5):
        scene_file(uncompiled / "in" / f"{index}.wav", 0.3 + 0.1 * index)
    (uncompiled / "in" / "bad.wav").write_text("no sound")
    command = ("in", "--query", "dog", "cab")
    lines, summary = run(capsys, *command, "--out", "one", status=2)
    assert summary == {"done": 10, "skipped": 0, "failed": 2}
    many, same = run(capsys, *command, "--out", "many", "--jobs", "3", status=2)
    assert same == summary
    assert {line["recording"] for line in many} == {line["recording"] for line in lines}
    assert [line["error"] for line in many if line["status"] == "failed"] == [
        "in/bad.wav is not a sound file that can be decoded: give WAV, FLAC, OGG or MP3."
    ] * 2
    for path in sorted((uncompiled / "one").glob("*.wav")):
        np.testing.assert_allclose(
            soundfile.read(path)[0], soundfile.read(uncompiled / "many" / path.name)[0], atol=2**-15
        )


def test_queries_of_a_recording_are_one_pass(uncompiled, monkeypatch, capsys):
    opened = []
    scene_file(uncompiled / "a.wav", 0.5)
    usual = runner.separate_file

    def counted(reader, **arguments):
        opened.append((str(reader.path), len(arguments["outputs"])))
        return usual(reader, **arguments)

    monkeypatch.setattr(runner, "separate_file", counted)
    run(capsys, "a.wav", "--query", "dog", "rain", "cab", "--without", "hid")
    assert opened == [("a.wav", 3)]


def test_stems_sum_to_the_recording_and_are_skipped_together(ready, capsys):
    scene_file(ready / "a.wav", 0.8, rate=22_050, channels=2)
    (line,), _ = run(capsys, "a.wav", "--query", "dog", "cab", "--stems", "--channel-mask", "shared")
    assert line["files"] == [f"separated/a.{name}.wav" for name in ("dog.stem", "cab.stem", "rest")]
    parts = [soundfile.read(path, dtype="int32")[0] for path in line["files"]]
    np.testing.assert_array_equal(sum(parts), soundfile.read("a.wav", dtype="int32")[0])
    command = ("a.wav", "--query", "dog", "cab", "--stems", "--channel-mask")
    assert run(capsys, *command, "shared")[1]["skipped"] == 1
    assert run(capsys, *command, "each")[1]["done"] == 1


def test_everything_but_and_averaged_sentences(ready, capsys):
    scene_file(ready / "a.wav", 0.8)
    (line,), _ = run(capsys, "a.wav", "--without", "dog", "rain")
    assert line["files"][0] == "separated/a.without-dog-rain.estimate.wav"
    assert line["queries"][0]["without"] == ["dog", "rain"]
    (line,), _ = run(capsys, "a.wav", "--query", "dog", "cab", "--average", "--weights", "3", "1")
    assert line["queries"][0]["text"] == ["dog", "cab"]
    assert line["queries"][0]["weights"] == [3, 1]
    weighted = soundfile.read(line["files"][0])[0]
    assert run(capsys, "a.wav", "--query", "dog", "cab", "--average")[1]["done"] == 1
    assert np.abs(soundfile.read(line["files"][0])[0] - weighted).max() > 2**-15


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.wav", "--query", " "], "A query is empty"),
        (["a.wav", "--query", "dog", "--weights", "1"], "--weights counts only with --average"),
        (["a.wav", "--query", "dog", "--average", "--weights", "1", "2"], "1 sentence(s) and 2 weight(s)"),
        (["a.wav", "--query", "dog", "--average", "--weights", "-1"], "not all positive"),
        (["a.wav", "--query", "dog", "--jobs", "0"], "--jobs is 0"),
        (["a.wav", "--query", "dog", "--rate", "8000"], "--rate is for the standard input"),
        (["a.wav", "--query", "dog", "--channels", "2"], "--channels is for the standard input"),
        (["a.wav", "--query", "dog", "--encoding", "s16le"], "--encoding is for the standard input"),
        (["-", "--query", "dog", "--out", "separated"], "--out is for files"),
        (["-", "--query", "dog", "--jobs", "1"], "--jobs is for files"),
        (["-", "--query", "dog", "--again"], "--again is for files"),
        (["-", "--query", "dog", "--channels", "1"], "--channels needs raw input"),
        (["*.wav", "--query", "dog", "--out", "."], "The results cannot go into ., whose sounds"),
        (["-", "a.wav", "--query", "dog"], "which is separated alone"),
        (["-", "--query", "dog", "--json"], "--json does not go with -"),
        (["-", "--query", "dog", "cab"], "carries one sound"),
        (["-", "--query", "dog", "--rate", "1"], "A sample rate of 1 Hz"),
        (["a.wav", "--query", "dog", "--preset", "live"], "--preset live is for the standard input"),
        (["a.wav", "--without", "dog", "--stems"], "--stems divides a recording among queries"),
    ],
)
def test_mistakes_are_one_sentence_before_any_work(ready, capsys, arguments, said):
    scene_file(ready / "a.wav", 0.3)
    assert main(["separate", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("audiosep: error: ")
    assert error.count("\n") == 1
    assert said in error
    assert not list(ready.glob("separated/*.wav"))


def test_an_absent_sound_is_warned_of_in_text_and_json(ready, monkeypatch, model, capsys):
    calibration = Calibration(midpoint_db=98, absent_below_db=99, slope_per_db=1)
    monkeypatch.setitem(model.__dict__, "calibration", calibration)
    scene_file(ready / "a.wav", 0.3)
    assert main(["separate", "a.wav", "--query", "dog"]) == 0
    assert 'audiosep: warning: a.wav: "dog" seems not to be in the recording' in capsys.readouterr().err
    (line,), _ = run(capsys, "a.wav", "--query", "dog")
    assert line["queries"][0]["absent"] is True
    assert line["queries"][0]["presence"] < 0.01
    assert "seems not to be in the recording" in line["warnings"][0]


def test_ctrl_c_ends_all_workers_and_leaves_nothing_half_written(uncompiled, monkeypatch, capsys):
    (uncompiled / "in").mkdir()
    for index in range(4):
        scene_file(uncompiled / "in" / f"{index}.wav", 12)
    told = threading.Event()
    usual = runner.Runner._job

    def interrupting(self, job, progress):
        def tell(*arguments):
            told.set()
            progress(*arguments)

        return usual(self, job, tell)

    def waiting(*arguments):
        told.wait(60)
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.Runner, "_job", interrupting)
    monkeypatch.setattr(runner, "wait", waiting)
    threads = threading.active_count()
    assert main(["separate", "in", "--query", "dog", "--jobs", "2"]) == 130
    assert capsys.readouterr().err == "audiosep: interrupted\n"
    left = [path.name for path in (uncompiled / "separated").rglob("*") if path.is_file()]
    assert not [name for name in left if name.endswith(".tmp")]
    assert len(left) % 3 == 0  # whole results with their records, or nothing
    assert threading.active_count() <= threads
