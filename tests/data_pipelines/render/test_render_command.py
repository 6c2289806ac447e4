"""`audiosep render` from a folder with a table to a corpus and back."""

import csv

import pytest
from rendered_corpora import content, write_clips

from audiosep_jax.cli import main
from data_pipelines.render.manifest import load_manifest


@pytest.fixture
def source(tmp_path):
    clips = write_clips(tmp_path / "clips")
    with (tmp_path / "clips" / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "captions", "label", "split", "source"])
        for number, clip in enumerate(clips):
            split = "train" if number % 3 == 0 else "test"
            writer.writerow([clip.file, "|".join(clip.captions), clip.labels[0], split, clip.recording])
    return tmp_path / "clips"


def call(*arguments):
    return main.main(["render", *map(str, arguments)])


RECIPE = ("--per-class", 2, "--snr", -5, 5, "--seconds", 1, "--sample-rate-hz", 8000)


def test_a_folder_becomes_a_corpus_and_its_manifest_the_same_one(source, tmp_path, capsys):
    out = tmp_path / "tiny"
    assert call("audio_folder", "--source", source, "--out", out, "--splits", "test", *RECIPE) == 0
    manifest = load_manifest(out / "manifest.json")
    assert manifest.name == "tiny"
    assert "6 mixtures of 6 clips" in capsys.readouterr().out
    assert not any(one.file.endswith("0.flac") for one in manifest.sources)  # those are in the split train
    assert {mixture.snr_db for mixture in manifest.mixtures} == {-5.0, 5.0}
    assert (out / "tiny_eval.csv").is_file()
    assert (
        call("--from", out / "manifest.json", "--source", source, "--out", tmp_path / "again", "--workers", 2)
        == 0
    )
    assert manifest.digest in capsys.readouterr().out
    assert content(tmp_path / "again") == content(out)


def test_clips_without_a_file_are_left_out_and_counted(source, tmp_path, capsys):
    (source / "bell" / "1.flac").unlink()
    arguments = ("audio_folder", "--source", source, "--out", tmp_path / "out", "--count", 5, *RECIPE[2:])
    assert call(*arguments, "--query", "label", "--snr-range", -3, 3) == 0
    assert "1 clips have no file and are left out" in capsys.readouterr().out
    manifest = load_manifest(tmp_path / "out" / "manifest.json")
    assert len(manifest.mixtures) == 5
    assert all(-3 <= mixture.snr_db <= 3 for mixture in manifest.mixtures)
    assert {mixture.caption for mixture in manifest.mixtures} <= {"bell", "hiss", "tick tock"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--count", "3"), "give the name of a dataset to render mixtures of, or --from a manifest"),
        (("audio_folder",), "give one of the two numbers"),
        (("esc51", "--count", "3"), "there is no dataset 'esc51': choose one of"),
        (
            ("audio_folder", "--count", "3", "--splits", "night"),
            "has no clip of night: its splits are test, train",
        ),
        (("audio_folder", "--count", "3", "--exclude", "x.txt"), "--exclude belongs to"),
        (("audio_folder", "--count", "3", "--name", "a/b"), "'a/b' with 1 worker(s): give a name without /"),
        (
            ("--from", "nothing.json", "--seed", "3"),
            "--seed: the manifest holds these values; remove the options",
        ),
        (("--from", "nothing.json"), "nothing.json does not exist"),
    ],
)
def test_wrong_arguments_end_in_one_sentence(source, tmp_path, capsys, arguments, sentence):
    assert call(*arguments, "--source", source, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()
