"""The bundled clips: every file is listed, free, attributed, small, and held out where it must be."""

import csv
from pathlib import Path

import pytest
import soundfile

import audiosep_jax
from audiosep_jax.evals.evaluation_set import check_files, load_evaluation_set

CLIPS = Path(audiosep_jax.__file__).parent / "assets" / "demo"
FREE = {"CC0", "CC-BY-3.0"}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (CLIPS / "clips.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_sound_file_has_one_row(rows):
    assert sorted(row["file"] for row in rows) == sorted(path.name for path in CLIPS.glob("*.ogg"))


def test_rows_describe_the_files(rows):
    for row in rows:
        info = soundfile.info(CLIPS / row["file"])
        assert (info.channels, info.samplerate) == (1, 32_000), row["file"]
        assert info.duration == pytest.approx(float(row["seconds"]), abs=0.01), row["file"]
        assert info.duration <= 6.01, row["file"]
        assert all(caption.strip() for caption in row["captions"].split("|")), row["file"]


def test_licences_are_free_and_attributed(rows):
    text = (CLIPS / "ATTRIBUTION.md").read_text("utf-8")
    for row in rows:
        assert row["licence"] in FREE, row["file"]
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{row['file']}` |")]
        for field in ("split", "source_package", "source_file", "licence"):
            assert row[field] in line, (row["file"], field)
        # CC BY asks for the author.
        assert row["licence"] == "CC0" or row["author"], row["file"]


def test_all_together_are_small():
    assert sum(path.stat().st_size for path in CLIPS.iterdir()) < 2_000_000


def test_no_recording_is_in_both_splits(rows):
    sources = {
        split: {(row["source_package"], row["source_file"]) for row in rows if row["split"] == split}
        for split in ("train", "validation")
    }
    assert sources["train"]
    assert sources["validation"]
    assert sources["train"].isdisjoint(sources["validation"])


def test_evaluation_set_uses_held_out_clips_only(rows):
    evaluation_set = load_evaluation_set(CLIPS / "evaluation.json")
    check_files(evaluation_set, CLIPS)
    held_out = {row["file"]: row["label"] for row in rows if row["split"] == "validation"}
    for entry in evaluation_set.entries:
        for source in (entry.target, entry.interferer):
            assert held_out[source.file] == source.label
        assert entry.target.label != entry.interferer.label


def test_demo_begins_with_the_dog_in_the_rain():
    entry = load_evaluation_set(CLIPS / "evaluation.json").entries[0]
    assert (entry.target.label, entry.interferer.label) == ("dog barking", "rain")
