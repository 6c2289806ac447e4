import pytest
from corpus_folders import Prepared, damaged, sound, text

from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora.vggsound import VGGSound

# As the release has it: no header, labels with a comma in quotation marks.
TABLE = """---g-f_I2yQ,1,people marching,test
--0PQM4-hqg,30,waterfall burbling,train
--0PQM4-hqg,30,waterfall burbling,train
--56QUhyDQM,185,"playing violin, fiddle",train
twice_twice,10,playing tennis,train
twice_twice,60,"race car, auto racing",train
gonegonegon,4,dog barking,train
brokenbroke,0,dog barking,test
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    source = tmp_path_factory.mktemp("vggsound") / "source"
    text(source / "data" / "vggsound.csv", TABLE)
    sound(source / "audio" / "---g-f_I2yQ_000001.wav", 1)
    sound(source / "audio" / "--0PQM4-hqg_30_40.flac", 2)
    sound(source / "audio" / "--56QUhyDQM.wav", 3)
    sound(source / "audio" / "twice_twice_60.wav", 4)
    sound(source / "audio" / "twice_twice.wav", 5)
    damaged(source / "audio" / "brokenbroke_000000.wav")
    return Prepared("vggsound", source, "--max-failed-share", 0.5)


def test_clips_have_the_label_as_caption_and_the_splits_of_the_table(prepared):
    train = prepared.clips("train")
    assert {clip: (known.label, known.source) for clip, known in train.items()} == {
        "audio/--0PQM4-hqg_30_40.flac": ("waterfall burbling", "--0PQM4-hqg"),
        "audio/--56QUhyDQM.wav": ("playing violin, fiddle", "--56QUhyDQM"),
        "audio/twice_twice_60.wav": ("race car, auto racing", "twice_twice"),
    }
    assert all(known.captions == (known.label,) for known in train.values())
    assert list(prepared.clips("test")) == ["audio/---g-f_I2yQ_000001.wav"]


def test_a_name_without_time_is_ignored_for_a_video_of_two_clips(prepared):
    assert prepared.report["missing"] == ["gonegonegon_000004.wav", "twice_twice_000010.wav"]
    assert list(prepared.skipped) == ["audio/brokenbroke_000000.wav"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("---g-f_I2yQ,1,people marching", "line 1 has 3 fields where 4 are needed"),
        (
            "---g-f_I2yQ,soon,people marching,test",
            "line 1 has the time 'soon', which is not a number of seconds: give",
        ),
        ("---g-f_I2yQ,1,people marching,validation", "line 1 has the split 'validation', which is neither"),
    ],
)
def test_a_faulty_line_is_named(tmp_path, line, message):
    text(tmp_path / "vggsound.csv", line)
    with pytest.raises(AudioSepError, match=message):
        VGGSound(source=tmp_path, data_dir=tmp_path / "out")


def test_a_resumed_build_ends_with_the_same_bytes(prepared):
    assert prepared.is_the_same_after_an_interruption()
