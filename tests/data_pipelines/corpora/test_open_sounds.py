import csv
import hashlib
import io
import json
import sys

import numpy as np
import pytest
import soundfile
import tyro
from debian_packages import digest, sound, wav, write_deb, write_tables, zipped

from audiosep_jax.cli.prepare import PrepareArgs, run
from audiosep_jax.config import MixtureConfig
from audiosep_jax.errors import AudioSepError, DatasetError, MissingPackageError, UsageError
from data_pipelines.corpora.open_sounds import extraction, packages, table
from data_pipelines.mixtures.clip_index import ClipStore
from data_pipelines.mixtures.clip_table import ClipTable
from data_pipelines.render.clips import list_clips

BELL, CHIMES, STEP, WORD = (sound(index) for index in range(4))
TRAIN = sound(9, seconds=2.0)
ARCHIVE = "usr/share/b/sounds.zip"
FILES = {
    "bells": {"usr/share/a/bell.wav": BELL, "usr/share/a/train.wav": TRAIN, "usr/share/a/unused.wav": STEP},
    "games": {ARCHIVE: zipped({"in/chimes.wav": CHIMES, "step.wav": STEP}), "usr/share/b/word.wav": WORD},
}
VERSIONS = {"bells": "1.0-1", "games": "2:3.1+dfsg-4"}
CLIPS = [
    {"clip": "bell_0", "label": "bell", "package": "bells", "members": "usr/share/a/bell.wav"}
    | {"captions": "a ding|the bell of a shop", "check": digest(BELL), "licence": "CC-BY-3.0 or CC0"},
    {"clip": "chimes_0", "label": "chimes", "package": "games", "members": f"{ARCHIVE}!/in/chimes.wav"}
    | {"check": digest(CHIMES), "licence": "CC-BY-SA-3.0 and GPL-2", "split": "heldout"},
    {"clip": "footsteps_0", "label": "footsteps", "package": "games", "seconds": 2}
    | {"members": f"{ARCHIVE}!/step.wav;usr/share/b/word.wav", "check": digest(STEP, WORD)}
    | {"licence": "GPL-2+"},
    {"clip": "train_0", "label": "train", "package": "bells", "members": "usr/share/a/train.wav"}
    | {"check": digest(TRAIN), "start": 0.5, "seconds": 0.75},
    {"clip": "word_0", "label": "speech", "package": "games", "members": "usr/share/b/word.wav"}
    | {"check": digest(WORD), "seconds": 1.8, "licence": "GPL-2+"},
]


def use_tables(monkeypatch, folder):
    monkeypatch.setattr(table, "_FOLDER", folder)
    for cached in (table.clips, table.packages, table.labels):
        cached.cache_clear()


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A folder of two packages that the tables describe."""
    use_tables(monkeypatch, write_tables(tmp_path / "tables", CLIPS, versions=VERSIONS))
    for name, files in FILES.items():
        write_deb(tmp_path / "debs", name, files, version=VERSIONS[name])
    yield tmp_path / "debs"
    monkeypatch.undo()
    for cached in (table.clips, table.packages, table.labels):
        cached.cache_clear()


def prepare(*words):
    return run(tyro.cli(PrepareArgs, args=["open_sounds", *map(str, words)]))


def build(debs, out, *words):
    assert prepare("--source", debs, "--out", out, *words) == 0
    return out


def content(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if not path.name.startswith(".")
    }


def test_it_prepares_clips_of_files_archives_and_one_shots(corpus, tmp_path):
    out = build(corpus, tmp_path / "out", "--clips", tmp_path / "clips")
    clips = {clip.id: clip for clip in ClipStore(f"{out}:train").clips}
    assert sorted(clips) == ["bell_0.flac", "footsteps_0.flac", "train_0.flac", "word_0.flac"]
    bell = clips["bell_0.flac"]
    assert bell.captions == ("a ding", "the bell of a shop", "a bell", "the sound of a bell", "some bell")
    assert (bell.label, bell.also, bell.source) == ("bell", ("chimes",), "bells:usr/share/a/bell.wav")
    assert [clip.id for clip in ClipStore(f"{out}:heldout").clips] == ["chimes_0.flac"]
    seconds = {name: clip.samples / 32_000 for name, clip in clips.items()}
    assert seconds["train_0.flac"] == 0.75
    assert seconds["bell_0.flac"] == 0.5
    assert 1.4 < seconds["word_0.flac"] <= 1.8  # one word, repeated
    assert 1.4 < seconds["footsteps_0.flac"] <= 2
    for file in (tmp_path / "clips").glob("*.flac"):
        waveform, rate = soundfile.read(file)
        assert rate == 32_000
        assert soundfile.info(file).subtype == "PCM_16"
        assert abs(np.max(np.abs(waveform)) - 0.7) < 1e-3
    table_lines = list(csv.DictReader(io.StringIO((tmp_path / "clips" / "clips.csv").read_text())))
    assert [line["file"] for line in table_lines] == [f"{clip['clip']}.flac" for clip in CLIPS]


def test_a_clip_is_the_part_that_the_table_names(corpus, tmp_path):
    build(corpus, tmp_path / "out", "--clips", tmp_path / "clips")
    found, _ = soundfile.read(tmp_path / "clips" / "train_0.flac")
    whole, _ = soundfile.read(io.BytesIO(TRAIN))
    part = whole[8_000:20_000]
    assert np.corrcoef(found[::2], part)[0, 1] > 0.99


def test_every_build_has_the_same_bytes_even_an_interrupted_one(corpus, tmp_path, monkeypatch):
    first = build(corpus, tmp_path / "first", "--clips", tmp_path / "clips 1")
    second = build(corpus, tmp_path / "second", "--clips", tmp_path / "clips 2")
    assert content(first) == content(second)
    assert content(tmp_path / "clips 1") == content(tmp_path / "clips 2")

    made = []
    real = extraction._clip

    def interrupted(entry, members):
        made.append(entry.clip)
        if len(made) == 3:
            raise KeyboardInterrupt
        return real(entry, members)

    monkeypatch.setattr(extraction, "_clip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(corpus, tmp_path / "third")
    assert not (tmp_path / "third").exists()
    third = build(corpus, tmp_path / "third")
    assert made == ["bell_0", "train_0", "chimes_0", "chimes_0", "footsteps_0", "word_0"]
    assert content(third) == content(first)
    assert not (tmp_path / ".third.preparing").exists()


def test_clips_whose_labels_overlap_never_meet(corpus, tmp_path):
    out = build(corpus, tmp_path / "out")
    assert json.loads((out / "overlapping_labels.json").read_text())["bell"] == ["chimes"]
    clips = {clip.label: clip for clip in ClipStore(str(out)).clips}

    def meet(one, two, **options):
        return ClipTable([[clips[one], clips[two]]], MixtureConfig(**options)).may_meet(0, [1])

    assert not meet("bell", "chimes")
    assert not meet("chimes", "bell")
    assert meet("bell", "train")
    assert meet("bell", "chimes", collisions=("caption",))


def test_licences_are_listed_without_a_source(corpus, capsys):
    assert prepare("--licences") == 0
    printed = capsys.readouterr().out
    assert "GPL-2+" in printed
    assert "games" in printed
    assert "public-domain, by, by-sa, gpl" in printed


def test_licences_choose_clips(corpus, tmp_path):
    out = build(corpus, tmp_path / "out", "--licences", "cc0", "CC-BY-SA-3.0")
    assert sorted(clip.id for clip in ClipStore(str(out)).clips) == ["bell_0.flac", "train_0.flac"]
    out = build(corpus, tmp_path / "both", "--licences", "by-sa", "gpl")
    assert {clip.id for clip in ClipStore(str(out)).clips} == {
        "chimes_0.flac", "footsteps_0.flac", "word_0.flac"
    }  # fmt: skip
    with pytest.raises(UsageError, match="no licence 'BSD'"):
        build(corpus, tmp_path / "other", "--licences", "BSD")


def test_rendering_takes_the_clips_as_a_folder(corpus, tmp_path):
    with pytest.raises(UsageError, match=r"open_sounds makes its sound files: run .* --clips FOLDER"):
        list_clips("open_sounds", corpus)
    build(corpus, tmp_path / "out", "--clips", tmp_path / "clips")
    found, absent = list_clips("audio_folder", tmp_path / "clips")
    assert (len(found), absent) == (5, 0)


def test_other_corpora_need_a_licence_and_folders(tmp_path):
    with pytest.raises(UsageError, match="--licences of clotho needs at least one"):
        run(tyro.cli(PrepareArgs, args=["clotho", "--licences"]))
    with pytest.raises(UsageError, match="Give --source and --out"):
        run(tyro.cli(PrepareArgs, args=["clotho", "--out", str(tmp_path / "out")]))


def test_the_attribution_names_packages_versions_licences_and_clips(corpus, tmp_path):
    out = build(corpus, tmp_path / "out", "--clips", tmp_path / "clips")
    text = (out / "ATTRIBUTION.md").read_text()
    assert "| games | 2:3.1+dfsg-4 | GPL-2+: 2, CC-BY-SA-3.0 and GPL-2: 1 | doc/games | 0.1 |" in text
    assert "- CC-BY-3.0 or CC0: bell_0" in text
    assert (tmp_path / "clips" / "ATTRIBUTION.md").read_text() == text


def test_a_missing_package_is_named_before_any_work(corpus, tmp_path):
    next(corpus.glob("games*")).unlink()
    with pytest.raises(DatasetError, match=r"lacks 1 of the packages .* games. Put .*--download"):
        build(corpus, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["debs", "tables"]
    with pytest.raises(DatasetError, match="is not a folder"):
        build(tmp_path / "nothing", tmp_path / "out")


def test_another_version_is_used_if_its_sounds_are_the_same(corpus, tmp_path):
    next(corpus.glob("games*")).unlink()
    write_deb(corpus, "games", FILES["games"], version="9-1")
    out = build(corpus, tmp_path / "out")
    assert len(ClipStore(str(out)).clips) == 5
    assert "| games | 9-1 |" in (out / "ATTRIBUTION.md").read_text()


def test_other_sounds_are_an_error_that_names_them_or_left_out(corpus, tmp_path):
    next(corpus.glob("games*")).unlink()
    files = {ARCHIVE: zipped({"in/chimes.wav": CHIMES}), "usr/share/b/word.wav": sound(20)}
    write_deb(corpus, "games", files, version="9-1")
    with pytest.raises(
        DatasetError, match=r"2 of 5 clips .* footsteps_0: games_9-1_all.deb \(9-1\)"
    ) as error:
        build(corpus, tmp_path / "out")
    assert "word_0: games_9-1_all.deb (9-1): usr/share/b/word.wav differs from the table" in str(error.value)
    assert not (tmp_path / "out").exists()
    out = build(corpus, tmp_path / "out", "--max-failed-share", 0.6)
    report = json.loads((out / "report.json").read_text())
    assert [clip["file"] for clip in report["skipped"]] == ["footsteps_0.flac", "word_0.flac"]
    assert "word_0" not in (out / "ATTRIBUTION.md").read_text()


def test_the_table_s_version_is_preferred(corpus):
    write_deb(corpus, "bells", {}, version="9-1")
    found = packages.find(corpus, ["bells"])
    assert found["bells"].version == "1.0-1"


def test_a_damaged_package_is_named(corpus, tmp_path):
    deb = next(corpus.glob("games*"))
    deb.write_bytes(deb.read_bytes()[:-60])
    with pytest.raises(DatasetError, match=r"games_2:3.1\+dfsg-4_all.deb is damaged .*: download it again"):
        build(corpus, tmp_path / "out")
    deb.write_bytes(b"no archive")
    with pytest.raises(DatasetError, match="is damaged"):
        build(corpus, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_killed_process_left_is_removed(corpus, tmp_path):
    clips = tmp_path / "clips"
    (clips / ".unpacking-abc").mkdir(parents=True)
    (clips / ".bell_0-12345678.flac").write_bytes(b"half")
    (corpus / ".downloading-abc").mkdir()
    build(corpus, tmp_path / "out", "--clips", clips)
    hidden = sorted(path.name for path in clips.iterdir() if path.name.startswith("."))
    assert hidden == [".lock", ".packages.jsonl"]


def test_a_finished_clip_that_was_deleted_is_made_again(corpus, tmp_path):
    build(corpus, tmp_path / "out", "--clips", tmp_path / "clips")
    before = content(tmp_path / "clips")
    (tmp_path / "clips" / "word_0.flac").unlink()
    build(corpus, tmp_path / "again", "--clips", tmp_path / "clips")
    assert content(tmp_path / "clips") == before


def test_silence_is_left_out(corpus, tmp_path, monkeypatch):
    quiet = wav(np.full(8_000, 1e-4))
    clip = CLIPS[0] | {"check": digest(quiet)}
    use_tables(monkeypatch, write_tables(tmp_path / "quiet", [clip, *CLIPS[1:]], versions=VERSIONS))
    write_deb(corpus, "bells", FILES["bells"] | {"usr/share/a/bell.wav": quiet})
    out = build(corpus, tmp_path / "out", "--max-failed-share", 0.2)
    (skipped,) = json.loads((out / "report.json").read_text())["skipped"]
    assert "it is silent" in skipped["reason"]


def test_libraries_are_asked_for_before_any_work(corpus, tmp_path, monkeypatch):
    font = CLIPS[0] | {"members": "usr/share/a/font.sf2#0:1"}
    use_tables(monkeypatch, write_tables(tmp_path / "font", [font, *CLIPS[1:]], versions=VERSIONS))
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    with pytest.raises(MissingPackageError, match="pip install --no-deps tinysoundfont"):
        build(corpus, tmp_path / "out")
    prompt = CLIPS[0] | {"members": "usr/share/a/prompt.g722"}
    use_tables(monkeypatch, write_tables(tmp_path / "prompt", [prompt, *CLIPS[1:]], versions=VERSIONS))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingPackageError, match=r"audiosep_jax\[open-sounds\]"):
        build(corpus, tmp_path / "out")
    assert not (tmp_path / ".out.preparing").exists()


def fake_apt_get(folder, script):
    folder.mkdir()
    command = folder / "apt-get"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    return str(folder)


def test_it_downloads_missing_packages_in_the_table_s_version(corpus, tmp_path, monkeypatch):
    deb = next(corpus.glob("games*"))
    elsewhere = deb.rename(tmp_path / deb.name)
    script = f'for last; do :; done\necho "$last" >> {tmp_path}/asked\ncp "{elsewhere}" .'
    monkeypatch.setenv("PATH", fake_apt_get(tmp_path / "bin", script), prepend=":")
    build(corpus, tmp_path / "out", "--download")
    assert (tmp_path / "asked").read_text() == "games=2:3.1+dfsg-4\n"
    assert sorted(path.name for path in corpus.glob("*")) == [".lock", "bells_1.0-1_all.deb", deb.name]


def test_a_failed_download_says_what_to_do(corpus, tmp_path, monkeypatch):
    next(corpus.glob("games*")).unlink()
    script = 'echo "E: Unable to locate package games" >&2\nexit 100'
    monkeypatch.setenv("PATH", fake_apt_get(tmp_path / "bin", script), prepend=":")
    with pytest.raises(DatasetError, match=r"could not download games .*Unable to locate.*apt-get update"):
        build(corpus, tmp_path / "out", "--download")
    assert sorted(path.name for path in corpus.iterdir()) == [".lock", "bells_1.0-1_all.deb"]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioSepError, match="--download needs apt-get"):
        build(corpus, tmp_path / "out", "--download")
