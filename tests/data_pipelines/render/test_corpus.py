"""Whole corpora: the same bytes in every rendering, and what happens after changes."""

import csv
import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from rendered_corpora import LABELS, content, render, snr_db, sound, write_clips

from audiosep_jax.audio.reading import read_audio
from audiosep_jax.audio.writing import write_audio
from audiosep_jax.errors import AudioSepError
from data_pipelines.render import manifest as manifests
from data_pipelines.render.from_manifest import render_from_manifest

RATE = 8000


@pytest.fixture
def clips(tmp_path):
    return write_clips(tmp_path / "clips")


def test_the_files_hold_what_the_manifest_says(clips, tmp_path):
    root, out = tmp_path / "clips", tmp_path / "out"
    written = render(clips, root, out, sources=(2, 3))
    manifest = manifests.load_manifest(out / "manifest.json")
    assert manifest == written
    assert len(manifest.mixtures) == 9
    assert content(out).keys() == {
        "manifest.json",
        "small_eval.csv",
        *(f"{kind}-{i}.wav" for kind in ("segment", "mixture") for i in range(9)),
    }
    for mixture in manifest.mixtures:
        assert snr_db(out, mixture.index) == pytest.approx(mixture.snr_db, abs=0.01)
        assert mixture.reached_db == pytest.approx(snr_db(out, mixture.index), abs=1e-3)
        for file, sha256 in mixture.hashes.items():
            assert content(out)[file] == sha256
        # The target is its clip, cut at the offset and multiplied by the gain.
        part = mixture.parts[0]
        waveform = read_audio(root / part.file, sample_rate_hz=RATE, mono=True).waveform[0]
        start = round(part.offset_seconds * RATE)
        want = waveform[start : start + RATE] * part.gain
        np.testing.assert_allclose(
            read_audio(out / f"segment-{mixture.index}.wav").waveform[0], want, atol=2e-5
        )
    sources = content(root)
    assert {one.file: one.sha256 for one in manifest.sources}.items() <= sources.items()
    assert {library.name for library in manifest.libraries} >= {"numpy", "soxr", "libsndfile", "machine"}


@pytest.mark.parametrize(
    ("encoding", "known"),
    [
        ("PCM_16", "103dd95ceddabd8e0a10a0799d0a9c2d882cf54d3f12fcc2088533bf3b3b1980"),
        ("FLOAT", "54ef71ce9aa08c95cd07585c0e57dc63403070b15e00cc34acbccc7e871871cd"),
    ],
)
def test_a_rendered_corpus_stays_what_it_is(clips, tmp_path, encoding, known):
    """Published corpora are checked by their digest: change this only knowingly."""
    not_resampled = [clip for clip in clips if clip.file != "hiss/0.flac"]  # so that soxr's version is free
    written = render(not_resampled, tmp_path / "clips", tmp_path / "out", sources=(2, 3), encoding=encoding)
    assert written.digest == known


def test_two_runs_processes_and_numbers_of_workers_give_the_same_bytes(clips, tmp_path):
    root = tmp_path / "clips"
    render(clips, root, tmp_path / "one", sources=(2, 3))
    render(list(reversed(clips)), root, tmp_path / "two", sources=(2, 3), workers=4)
    code = textwrap.dedent(f"""
        from pathlib import Path
        from rendered_corpora import render, write_clips
        root = Path({str(root)!r})
        render(write_clips(root.parent / "elsewhere"), root, root.parent / "three", sources=(2, 3), workers=2)
    """)
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert content(tmp_path / "one") == content(tmp_path / "two") == content(tmp_path / "three")
    other = render(clips, root, tmp_path / "four", sources=(2, 3), seed=1)
    assert other.digest != manifests.load_manifest(tmp_path / "one" / "manifest.json").digest


def test_float_files_hold_the_snr_too(clips, tmp_path):
    render(clips, tmp_path / "clips", tmp_path / "out", encoding="FLOAT", snrs_db=(55.0, -55.0))
    for index in range(9):
        assert abs(snr_db(tmp_path / "out", index)) == pytest.approx(55, abs=0.01)


def test_the_lists_have_the_columns_of_the_references(clips, tmp_path):
    root = tmp_path / "clips"
    render(clips, root, tmp_path / "captions", name="audiocaps", sources=(3,))
    render(clips, root, tmp_path / "labels", name="esc50", query="label")
    with (tmp_path / "captions" / "audiocaps_eval.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["idx", "caption", "labels", "src_wav", "noise_wav"]
    assert [row[0] for row in rows[1:]] == [str(i) for i in range(9)]
    for _, caption, labels, source, noise in rows[1:]:
        clip = next(clip for clip in clips if clip.file == source)
        assert caption in clip.captions
        assert labels == clip.labels[0].replace("_", " ")
        assert len(noise.split("|")) == 2
    with (tmp_path / "labels" / "esc50_eval.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["idx", "caption", "src_wav", "noise_wav"]
    assert [row[1] for row in rows[1:]] == [label.replace("_", " ") for label in LABELS for _ in range(3)]


def test_a_manifest_renders_the_same_bytes_again(clips, tmp_path):
    root, out = tmp_path / "clips", tmp_path / "out"
    render(clips, root, out, sources=(2, 3))
    render_from_manifest(out / "manifest.json", root=root, out=tmp_path / "again", workers=2)
    assert content(tmp_path / "again") == content(out)
    (tmp_path / "again" / "mixture-3.wav").unlink()
    render_from_manifest(out / "manifest.json", root=root, out=tmp_path / "again")
    assert content(tmp_path / "again") == content(out)


def test_changed_and_missing_clips_are_named(clips, tmp_path):
    root, out = tmp_path / "clips", tmp_path / "out"
    render(clips, root, out)
    write_audio(root / "bell/1.flac", 0.9 * sound("bell", 1), sample_rate_hz=RATE)
    (root / "hiss/2.flac").unlink()
    with pytest.raises(AudioSepError) as error:
        render_from_manifest(out / "manifest.json", root=root, out=tmp_path / "again")
    assert str(error.value) == (
        f"the clips in {root} are not those of {out / 'manifest.json'}: 1 of 9 missing (hiss/2.flac), "
        "1 of 9 changed (bell/1.flac); get the same files."
    )
    assert not (tmp_path / "again").exists()


def test_other_bytes_are_named_with_the_library_that_differs(clips, tmp_path):
    root, out = tmp_path / "clips", tmp_path / "out"
    render(clips, root, out)
    values = json.loads((out / "manifest.json").read_text())
    values["mixtures"][4]["segment_sha256"] = "0" * 64
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(values))
    with pytest.raises(AudioSepError, match=r"1 of 18 files .*: segment-4\.wav; clips and library versions"):
        render_from_manifest(path, root=root, out=tmp_path / "again")
    values["libraries"] = [
        one | ({"version": "0.4.0"} if one["name"] == "soxr" else {}) for one in values["libraries"]
    ]
    path.write_text(json.dumps(values))
    with pytest.raises(
        AudioSepError, match=r"from the same clips with soxr 0\.4\.0 \(here .*\): install those versions"
    ):
        render_from_manifest(path, root=root, out=tmp_path / "again")
    left = content(tmp_path / "again")
    assert "segment-4.wav" not in left
    assert "manifest.json" not in left
    assert len(left) == 17


def test_an_interrupted_rendering_is_resumed(clips, tmp_path):
    root, out = tmp_path / "clips", tmp_path / "out"
    render(clips, root, tmp_path / "whole")

    class EnoughError(Exception):
        pass

    def stop(done, _total):
        if done == 4:
            raise EnoughError

    with pytest.raises(EnoughError):
        render(clips, root, out, progress=stop)
    assert "manifest.json" not in content(out)
    seen = []
    render(clips, root, out, progress=lambda done, total: seen.append(done))
    assert seen == [4, 5, 6, 7, 8, 9]
    assert content(out) == content(tmp_path / "whole")


def test_a_killed_process_leaves_no_half_files(clips, tmp_path):
    root, out = tmp_path / "clips", tmp_path / "out"
    render(clips, root, tmp_path / "whole")
    code = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from rendered_corpora import render, write_clips
        from data_pipelines.render import corpus
        root = Path({str(root)!r})
        write, files = corpus.write_whole, []
        def killed(path, content):
            files.append(path)
            if len(files) == 9:
                path.with_name("." + path.stem + "-x.wav").write_bytes(content[:99])
                os.kill(os.getpid(), signal.SIGKILL)
            write(path, content)
        corpus.write_whole = killed
        render(write_clips(root.parent / "elsewhere"), root, root.parent / "out")
    """)
    environment = dict(os.environ)
    ended = subprocess.run([sys.executable, "-c", code], env=environment)
    assert ended.returncode == -signal.SIGKILL
    whole, part = content(tmp_path / "whole"), content(out)
    hidden = {name for name in part if name.startswith(".")}
    assert {".rendering.jsonl", ".rendering.lock"} < hidden
    assert len(hidden) == 3
    assert {name: part[name] for name in part.keys() - hidden}.items() <= whole.items()
    with (out / ".rendering.jsonl").open("a") as file:
        file.write('{"mixture": {"index": 8, "capt')  # as a cut-off write leaves it
    seen = []
    render(clips, root, out, progress=lambda done, total: seen.append(done))
    assert 0 < seen[0] < 9
    assert content(out) == whole


def test_a_complete_corpus_is_checked_and_repaired(clips, tmp_path):
    root, out = tmp_path / "clips", tmp_path / "out"
    render(clips, root, out)
    before = content(out)
    seen = []
    render(clips, root, out, progress=lambda done, total: seen.append(done))
    assert seen == [9]
    data = bytearray((out / "mixture-2.wav").read_bytes())
    data[5000] ^= 1
    (out / "mixture-2.wav").write_bytes(data)
    (out / "segment-7.wav").unlink()
    render(clips, root, out, progress=lambda done, total: seen.append(done))
    assert seen[1:] == [7, 8, 9]
    assert content(out) == before


def test_a_clip_that_changes_during_an_interruption_is_found(clips, tmp_path):
    root, out = tmp_path / "clips", tmp_path / "out"
    manifest = render(clips, root, out)
    part = manifest.mixtures[0].parts[0]
    (out / "mixture-0.wav").unlink()
    label, seed = part.file.removesuffix(".flac").split("/")
    write_audio(root / part.file, 0.9 * sound(label, int(seed)), sample_rate_hz=RATE)
    with pytest.raises(AudioSepError, match=f"{part.file} has changed since mixtures were made of it"):
        render(clips, root, out)


def test_a_folder_with_other_files_is_refused(clips, tmp_path):
    root, out = tmp_path / "clips", tmp_path / "out"
    render(clips, root, out)
    with pytest.raises(AudioSepError, match="holds a corpus of other clips, another recipe"):
        render(clips, root, out, seed=1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("mine")
    with pytest.raises(AudioSepError, match="has files but no corpus"):
        render(clips, root, tmp_path / "full")
    other = json.loads((out / "manifest.json").read_text()) | {"name": "x"}
    (tmp_path / "other.json").write_text(json.dumps(other))
    with pytest.raises(AudioSepError, match="holds another corpus"):
        render_from_manifest(tmp_path / "other.json", root=root, out=out)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 2}, "format version 2"),
        ({"mixtures": []}, "lacks mixtures"),
        ({"sources": []}, "no hash for some of its clips"),
        ({"sources": [{"file": "../../secret.wav", "sha256": ""}]}, "lies outside of the clips' folder"),
    ],
)
def test_invalid_manifests_are_refused(clips, tmp_path, change, sentence):
    render(clips, tmp_path / "clips", tmp_path / "out")
    values = json.loads((tmp_path / "out" / "manifest.json").read_text()) | change
    (tmp_path / "bad.json").write_text(json.dumps(values))
    with pytest.raises(AudioSepError, match=sentence):
        render_from_manifest(tmp_path / "bad.json", root=tmp_path / "clips", out=tmp_path / "again")


def test_a_damaged_clip_is_named(clips, tmp_path):
    root = tmp_path / "clips"
    (root / "bell/1.flac").write_bytes(b"fLaC")
    with pytest.raises(AudioSepError, match=r"bell/1\.flac"):
        render(clips, root, tmp_path / "out")
