import json
import os
import sys
from typing import get_args

import numpy as np
import pytest
import tyro
from pipelines_sounds import write_folder

from audiosep_jax.cli.prepare import Name, PrepareArgs, run
from audiosep_jax.encoders.cache import ConditionCache
from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora import registry
from data_pipelines.prepare import beam
from data_pipelines.prepare.builder import ClipBuilder


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


def test_it_refuses_options_of_another_dataset_and_a_missing_source(tmp_path):
    with pytest.raises(AudioSepError, match="--validation-share belongs to audio_folder and means nothing"):
        command("esc50", "--source", tmp_path, "--out", tmp_path / "out", "--validation-share", 0.1)
    with pytest.raises(AudioSepError, match="neither ESC-50"):
        command("esc50", "--source", tmp_path, "--out", tmp_path / "data" / "out")
    assert not (tmp_path / "data").exists()


def test_every_option_of_one_builder_is_refused_for_the_others():
    for name, dataset in registry.DATASETS.items():
        registry.check_options(name, dict.fromkeys(dataset.options, "x"))
        for option in set(registry.OPTIONS) - set(dataset.options):
            flag = "--" + option.replace("_", "-")
            with pytest.raises(
                AudioSepError, match=f"^{flag} belongs to .* and means nothing for {name}: leave"
            ):
                registry.check_options(name, {option: "x"})


def test_options_of_another_builder_are_refused_as_they_are_given(tmp_path):
    given = {"metadata": "a.csv", "source_column": "origin", "splits": "train", "exclude": "a.txt"}
    given |= {"validation_share": 0.1, "licences": "by", "frames": 2, "noise": None}
    given |= {"download": None, "clips": "folder"}
    assert set(given) == set(registry.OPTIONS)
    for option, value in given.items():
        other = "esc50" if option != "metadata" else "clotho"
        words = [f"--{option.replace('_', '-')}", *([] if value is None else [value])]
        with pytest.raises(AudioSepError, match=f"{words[0]} belongs to"):
            command(other, "--source", tmp_path, "--out", tmp_path / "out", *words)


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


def test_a_dataset_stores_the_conditions_of_a_tower_for_training(tmp_path, monkeypatch):
    asked = []

    class Tower:
        condition_size = 3
        fingerprint = "f" * 64

        def encode(self, texts):
            asked.extend(texts)
            return np.array([[len(text), ord(text[-1]), 1] for text in texts], np.float32)

    def load(config):
        assert (config.encoder, config.source) == ("clap", "a/b")
        return Tower()

    monkeypatch.setattr("audiosep_jax.encoders.base.load_encoder", load)
    source = write_folder(tmp_path / "source", seconds=0.2)
    out = tmp_path / "out"
    command("audio_folder", "--source", source, "--out", out, "--conditions", "clap:a/b")
    assert len(asked) == len(set(asked)) == 8
    asked.clear()
    found = ConditionCache(Tower(), beside=[out]).conditions(["a tone of 3", "tone 0"])
    np.testing.assert_array_equal(found, [[11, ord("3"), 1], [6, ord("0"), 1]])
    assert asked == []
    assert not (tmp_path / ".out.preparing").exists()


def test_beam_needs_its_flag_and_its_options_belong_to_it(tmp_path, monkeypatch):
    source = write_folder(tmp_path / "source", seconds=0.2)
    options = ("audio_folder", "--source", source, "--out", tmp_path / "out")
    with pytest.raises(AudioSepError, match="--beam-options belongs to --beam"):
        command(*options, "--beam-options", "runner=DirectRunner")
    with pytest.raises(AudioSepError, match="close its quotes"):
        command(*options, "--beam", "--beam-options", "runner='DirectRunner")
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(AudioSepError, match=r"pip install 'audiosep_jax\[beam\]'"):
        command(*options, "--beam")
    assert os.listdir(tmp_path) == ["source"]


def test_beam_s_options_keep_quoted_text():
    text = 'runner=FlinkRunner --parallelism=4 \'environment_config={"command": "/opt/boot"}\''
    assert beam.parse_options(text) == [
        "--runner=FlinkRunner",
        "--parallelism=4",
        '--environment_config={"command": "/opt/boot"}',
    ]
