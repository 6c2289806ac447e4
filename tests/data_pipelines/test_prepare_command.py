import json
from typing import get_args

import pytest
import tyro
from pipelines_sounds import write_folder

from audiosep_jax.commands.prepare import Name, PrepareArgs, run
from audiosep_jax.errors import AudioSepError
from data_pipelines import registry
from data_pipelines.builder import ClipBuilder


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
    with pytest.raises(AudioSepError, match="--validation-share belongs to audio_folder and means nothing"):
        command("esc50", "--source", tmp_path, "--out", tmp_path / "out", "--validation-share", 0.1)
    with pytest.raises(AudioSepError, match="neither ESC-50"):
        command("esc50", "--source", tmp_path, "--out", tmp_path / "data" / "out")
    assert not (tmp_path / "data").exists()


def test_every_option_of_one_builder_is_refused_for_the_others(tmp_path):
    given = {"metadata": "a.csv", "source_column": "origin", "validation_share": 0.1, "splits": "train"}
    given |= {"exclude": "a.txt", "licences": "by", "frames": 2, "noise": ""}
    assert set(given) == set(registry.OPTIONS)
    for name, dataset in registry.DATASETS.items():
        for option in set(given) - set(dataset.options):
            flag = "--" + option.replace("_", "-")
            words = [word for word in (flag, given[option]) if word != ""]
            with pytest.raises(
                AudioSepError, match=f"{flag} belongs to .* and means nothing for {name}: leave"
            ):
                command(name, "--source", tmp_path, "--out", tmp_path / "out", *words)


def test_the_help_names_every_dataset_with_its_layout_in_one_line(capsys):
    with pytest.raises(SystemExit):
        tyro.cli(PrepareArgs, args=["--help"])
    printed = capsys.readouterr().out.splitlines()
    for name, dataset in registry.DATASETS.items():
        assert f"  {name:<16}  {dataset.layout}" in printed
        assert issubclass(registry.builder_class(name), ClipBuilder)
    assert set(get_args(Name)) == set(registry.DATASETS)


def test_workers_are_at_least_one(tmp_path):
    source = write_folder(tmp_path / "source", seconds=0.2)
    with pytest.raises(AudioSepError, match="number of workers is 0: give 1 or more"):
        command("audio_folder", "--source", source, "--out", tmp_path / "out", "--workers", 0)
