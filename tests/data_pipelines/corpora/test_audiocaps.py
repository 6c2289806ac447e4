import pytest
from corpus_folders import Prepared, damaged, sound, table, text

from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora.audiocaps import AudioCaps

HEADER = "audiocap_id,youtube_id,start_time,caption"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    source = tmp_path_factory.mktemp("audiocaps") / "source"
    table(
        source / "dataset" / "train.csv",
        HEADER,
        (91139, "r1nicOVtvkQ", 130, "A woman talks nearby as water pours"),
        (58146, "-UDGBjjwyaq", 20, 'Multiple "clanging" and clanking sounds, then speech '),
        (58147, "gonegonegon", 20, "Nobody has this"),
        (58148, "brokenbroke", 20, "This one is damaged"),
    )
    table(
        source / "dataset" / "val.csv",
        HEADER,
        *((100 + take, "vfY_TJq7n_U", 130, f"Ducks quack, take {take % 4}") for take in range(5)),
    )
    sound(source / "audio" / "train" / "Yr1nicOVtvkQ.wav", 1)
    sound(source / "audio" / "train" / "-UDGBjjwyaq_20.flac", 2)
    damaged(source / "audio" / "train" / "brokenbroke.wav")
    sound(source / "audio" / "val" / "vfY_TJq7n_U.wav", 3)
    return Prepared("audiocaps", source, "--max-failed-share", 0.5)


def test_a_training_clip_has_one_caption_and_its_video_as_source(prepared):
    clips = prepared.clips("train")
    assert {clip: (known.captions, known.source) for clip, known in clips.items()} == {
        "audio/train/Yr1nicOVtvkQ.wav": (("A woman talks nearby as water pours",), "r1nicOVtvkQ"),
        "audio/train/-UDGBjjwyaq_20.flac": (
            ('Multiple "clanging" and clanking sounds, then speech',),
            "-UDGBjjwyaq",
        ),
    }
    assert prepared.report["missing"] == ["gonegonegon.wav"]
    assert list(prepared.skipped) == ["audio/train/brokenbroke.wav"]


def test_the_lines_of_a_validation_clip_become_one(prepared):
    (clip,) = prepared.clips("val").values()
    assert clip.captions == tuple(f"Ducks quack, take {take}" for take in range(4))
    assert prepared.report["prepared"] == {"train": 2, "val": 1}


def test_a_faulty_line_is_named(tmp_path):
    text(tmp_path / "test.csv", f"{HEADER}\n1,r1nicOVtvkQ,,rain\n")
    with pytest.raises(AudioSepError, match=r"test\.csv, line 2 is incomplete: it has no start_time"):
        AudioCaps(source=tmp_path, data_dir=tmp_path / "out")
    text(tmp_path / "test.csv", f"{HEADER}\n1,r1nicOVtvkQ,soon,rain\n")
    with pytest.raises(AudioSepError, match="line 2 has the time 'soon', which is not a number of seconds"):
        AudioCaps(source=tmp_path, data_dir=tmp_path / "out")


def test_a_resumed_build_ends_with_the_same_bytes(prepared):
    assert prepared.is_the_same_after_an_interruption()
