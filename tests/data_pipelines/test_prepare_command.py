import json

import pytest
import tyro
from pipelines_sounds import write_folder

from audiosep_jax.commands.prepare import PrepareArgs, run
from audiosep_jax.errors import AudioSepError


def command(*words):
    return run(tyro.cli(PrepareArgs, args=[str(word) for word in words]))


def test_it_prepares_a_folder_and_counts(tmp_path, capsys):
    source = write_folder(tmp_path / "source", seconds=0.5)
    (source / "05.wav").write_text("no sound")
    out = tmp_path / "out"
    assert command("audio_folder", "--source", source, "--out", out, "--max-failed-share", "0.1") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "11 of 12 clips prepared (train 11)" in printed
    assert "at 32000 Hz, 1 skipped; see" in printed
    assert json.loads((out / "report.json").read_text())["skipped"][0]["file"] == "05.wav"


def test_brackets_in_a_path_are_printed_as_they_are(tmp_path, capsys):
    out = tmp_path / "[red]out[/red]"
    command("audio_folder", "--source", write_folder(tmp_path / "source", seconds=0.2), "--out", out)
    assert f"{out}: 12 of 12 clips prepared" in capsys.readouterr().out


def test_its_options_reach_the_builder(tmp_path):
    source = write_folder(tmp_path / "source", per_label=10, seconds=0.2)
    options = ("--sample-rate-hz", 16_000, "--validation-share", 0.3, "--source-column", "file")
    command("audio_folder", "--source", source, "--out", tmp_path / "out", *options)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["sample_rate_hz"] == 16_000
    assert set(report["prepared"]) == {"train", "validation"}


def test_it_refuses_options_of_the_other_dataset_and_a_source_that_is_none(tmp_path):
    with pytest.raises(AudioSepError, match="--validation-share belongs to audio_folder and means nothing for esc50"):
        command("esc50", "--source", tmp_path, "--out", tmp_path / "out", "--validation-share", 0.1)
    with pytest.raises(AudioSepError, match="neither ESC-50"):
        command("esc50", "--source", tmp_path, "--out", tmp_path / "data" / "out")
    assert not (tmp_path / "data").exists()
