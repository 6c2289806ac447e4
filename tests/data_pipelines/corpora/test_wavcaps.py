import json

import pytest
from corpus_folders import Prepared, damaged, sound, text

from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora.wavcaps import WavCaps


def write(path, entries):
    """Writes the layout of the corpus, with fields of an entry that are not read."""
    text(path, json.dumps({"num_captions_per_audio": 1, "data": entries}))


def entry(identity, caption, **other):
    return {"id": identity, "caption": caption, "audio": "wav_path", "duration": 0.2, **other}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    source = tmp_path_factory.mktemp("wavcaps") / "source"
    tables = source / "json_files"
    write(
        tables / "AudioSet_SL" / "as_final.json",
        [entry("Yb0RFKhbpFJA.wav", "Wind and a man speaking are heard."), entry("Y--gonegone-.wav", "Gone.")],
    )
    write(
        tables / "BBC_Sound_Effects" / "bbc_final.json",
        [
            entry("NHU05104 (α) [x], 1/2", "A slash cannot be in a name.", description="…", category=[]),
            entry("07066121_é=", "A door is closing.", download_link="https://example.org/x.wav"),
        ],
    )
    write(
        tables / "FreeSound" / "fsd_final.json",
        [
            entry("2219", "Someone is singing.", file_name="UK, Mello.wav", tags=["a", "b"]),
            entry("2219", "Someone is singing loudly."),
            entry("180913", "A traditional ringtone is playing."),
            entry("3", "This one is damaged."),
        ],
    )
    # SoundBible's list has also been given away without the object around it, and numbers as numbers.
    text(tables / "SoundBible" / "sb_final.json", json.dumps([entry(2219, "An airplane is landing.")]))
    unzipped = source / "mnt" / "WavCaps" / "data" / "waveforms"
    sound(unzipped / "AudioSet_SL_flac" / "Yb0RFKhbpFJA.flac", 1)
    sound(unzipped / "BBC_Sound_Effects_flac" / "07066121_é=.flac", 2)
    sound(unzipped / "FreeSound_flac" / "2219.flac", 3)
    sound(unzipped / "FreeSound_flac" / "180913.flac", 4)
    damaged(unzipped / "FreeSound_flac" / "3.flac")
    sound(unzipped / "SoundBible_flac" / "2219.flac", 5)
    text(tables / "blacklist" / "b.json", '{"AudioSet": ["Yb0RFKhbpFJA.wav"], "FreeSound": ["180913", 3]}')
    return source


@pytest.fixture(scope="module")
def prepared(source):
    return Prepared("wavcaps", source, "--max-failed-share", 0.5)


def test_collections_are_splits_and_may_share_numbers(prepared):
    found = {
        split: {clip.rpartition("/")[2]: (*known.captions, known.source) for clip, known in clips.items()}
        for split in WavCaps.SPLITS
        if (clips := prepared.clips(split))
    }
    assert found == {
        "AudioSet_SL": {"Yb0RFKhbpFJA.flac": ("Wind and a man speaking are heard.", "b0RFKhbpFJA")},
        "BBC_Sound_Effects": {"07066121_é=.flac": ("A door is closing.", "BBC_Sound_Effects/07066121_é=")},
        "FreeSound": {
            "2219.flac": ("Someone is singing.", "Someone is singing loudly.", "2219"),
            "180913.flac": ("A traditional ringtone is playing.", "180913"),
        },
        "SoundBible": {"2219.flac": ("An airplane is landing.", "SoundBible/2219")},
    }


def test_absent_files_are_missing_and_damaged_ones_are_skipped(prepared):
    assert prepared.report["missing"] == [
        "AudioSet_SL/Y--gonegone-.flac",
        "BBC_Sound_Effects/NHU05104 (α) [x], 1_2.flac",
    ]
    assert [file.rpartition("/")[2] for file in prepared.skipped] == ["3.flac"]


def test_its_blacklists_leave_recordings_out(source, tmp_path):
    blacklist = source / "json_files" / "blacklist" / "b.json"
    wanted = ["AudioSet_SL", "FreeSound"]
    with pytest.raises(
        AudioSepError, match=r"holds no sound of the split 'AudioSet_SL' .* and --exclude leaves: put"
    ):
        WavCaps(source=source, exclude=blacklist, splits=wanted, data_dir=tmp_path)
    (row,) = WavCaps(source=source, exclude=blacklist, splits=["FreeSound"], data_dir=tmp_path).rows
    assert row.source == "2219"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"num_captions_per_audio": 1}', r"sb_final\.json has no list of clips"),
        ('{"data": [{"id": "1", "caption": "x"}, {"id": "2"}]}', "entry 1 has no caption"),
        ('{"data": [{"caption": "x"}]}', "entry 0 has no id"),
        ('{"data": ["1"]}', "entry 0 has no id"),
    ],
)
def test_a_faulty_table_is_named(tmp_path, content, message):
    text(tmp_path / "SoundBible" / "sb_final.json", content)
    with pytest.raises(AudioSepError, match=message):
        WavCaps(source=tmp_path, data_dir=tmp_path / "out")


def test_a_resumed_build_ends_with_the_same_bytes(prepared):
    assert prepared.is_the_same_after_an_interruption()
