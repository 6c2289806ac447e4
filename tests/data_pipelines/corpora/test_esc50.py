import pytest
from corpus_folders import Prepared, damaged, sound, table

COLUMNS = "filename,fold,target,category,esc10,src_file,take"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    source = tmp_path_factory.mktemp("esc50") / "source"
    table(
        source / "meta" / "esc50.csv",
        COLUMNS,
        ("1-100032-A-0.wav", 1, 0, "dog", True, 100032, "A"),
        ("1-100032-B-0.wav", 1, 0, "dog", True, 100032, "B"),
        ("5-9-A-11.wav", 5, 11, "sea_waves", False, 9, "A"),
        ("5-8-A-11.wav", 5, 11, "sea_waves", False, 8, "A"),
    )
    for number, name in enumerate(("1-100032-A-0", "1-100032-B-0", "5-9-A-11")):
        sound(source / "audio" / f"{name}.wav", number)
    damaged(source / "audio" / "5-8-A-11.wav")
    return Prepared("esc50", source, "--max-failed-share", 0.5)


def test_folds_are_splits_and_takes_of_one_recording_share_it(prepared):
    first = prepared.clips("fold1")
    assert {clip.source for clip in first.values()} == {"100032"}
    assert first["audio/1-100032-A-0.wav"].captions == ("a dog barking", "a dog", "the barking of a dog")
    (sea,) = prepared.clips("fold5").values()
    assert (sea.id, sea.label, sea.labels) == ("audio/5-9-A-11.wav", "sea waves", ())
    assert list(prepared.skipped) == ["audio/5-8-A-11.wav"]
    assert "Piczak" in prepared.info["citation"]


def test_a_resumed_build_ends_with_the_same_bytes(prepared):
    assert prepared.is_the_same_after_an_interruption()
