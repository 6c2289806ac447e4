import json

import pytest
from corpus_folders import Prepared, damaged, sound, table, text

from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora.fsd50k import FSD50K

GUITAR = "Electric_guitar,Guitar,Plucked_string_instrument,Musical_instrument,Music"
GUITAR_MIDS = "/m/02sgy,/m/0342h,/m/0fx80y,/m/04szw,/m/04rlf"
POTS = "Dishes_and_pots_and_pans,Domestic_sounds_and_home_sounds"
BY, BY_NC = (f"http://creativecommons.org/licenses/{kind}/3.0/" for kind in ("by", "by-nc"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    source = tmp_path_factory.mktemp("fsd50k") / "source"
    truth = source / "FSD50K.ground_truth"
    table(
        truth / "dev.csv",
        "fname,labels,mids,split",
        (64760, GUITAR, GUITAR_MIDS, "train"),
        (64760, GUITAR, GUITAR_MIDS, "train"),
        (16399, POTS, "/m/04brg2,/t/dd00071", "train"),
        (21914, "Run,Human_locomotion", "/m/06h7j,/m/1", "val"),
        (404, "Rain,Water", "/m/06mb1,/m/0838f", "train"),
        (500, "Rain,Water", "/m/06mb1,/m/0838f", "val"),
    )
    table(truth / "eval.csv", "fname,labels,mids", (37199, "Burping_and_eructation", "/m/03q5_w"))
    text(truth / "vocabulary.csv", "0,Accelerating_and_revving_and_vroom,/m/07q2z82\n")
    collection = source / "FSD50K.metadata" / "collection"
    table(
        collection / "collection_dev.csv",
        "fname,labels,mids",
        (64760, "Electric_guitar", "/m/02sgy"),
        (16399, "", ""),
        (21914, "Run", "/m/06h7j"),
    )
    information = {
        "64760": {"license": BY, "title": "a"},
        "16399": {"license": BY_NC},
        "404": {"license": BY},
    }
    text(source / "FSD50K.metadata" / "dev_clips_info_FSD50K.json", json.dumps(information))
    sound(source / "FSD50K.dev_audio" / "64760.wav", 1)
    sound(source / "FSD50K.dev_audio" / "16399.wav", 2)
    sound(source / "FSD50K.dev_audio" / "21914.wav", 3)
    damaged(source / "FSD50K.dev_audio" / "500.wav")
    sound(source / "FSD50K.eval_audio" / "37199.wav", 4)
    return source


@pytest.fixture(scope="module")
def prepared(source):
    return Prepared("fsd50k", source, "--max-failed-share", 0.5)


def test_all_classes_are_kept_and_the_caption_names_those_of_the_annotators(prepared):
    guitar = prepared.clips("train")["FSD50K.dev_audio/64760.wav"]
    assert guitar.captions == ("electric guitar",)
    assert (guitar.label, guitar.source) == ("Electric guitar", "64760")
    assert guitar.labels == (
        "Electric guitar",
        "Guitar",
        "Plucked string instrument",
        "Musical instrument",
        "Music",
    )
    (run,) = prepared.clips("val").values()
    assert (run.captions, run.labels) == (("run",), ("Run", "Human locomotion"))


def test_classes_are_called_as_in_audioset(prepared):
    pots = prepared.clips("train")["FSD50K.dev_audio/16399.wav"]
    assert pots.labels == ("Dishes, pots, and pans", "Domestic sounds, home sounds")
    assert pots.captions == ("dishes, pots, and pans, domestic sounds, home sounds",)  # people gave none
    (burp,) = prepared.clips("eval").values()
    assert (burp.label, burp.labels, burp.captions) == (
        "Burping, eructation",
        (),
        ("burping, eructation",),
    )


def test_absent_files_are_missing_and_damaged_ones_are_skipped(prepared):
    assert prepared.report["missing"] == ["FSD50K.dev_audio/404.wav"]
    assert list(prepared.skipped) == ["FSD50K.dev_audio/500.wav"]


def test_clips_may_be_chosen_by_licence(source, tmp_path):
    rows = FSD50K(source=source, splits=["train"], licences=["by"], data_dir=tmp_path).rows
    assert {row.source for row in rows} == {"64760", "404"}
    with pytest.raises(AudioSepError, match=r"eval_clips_info_FSD50K\.json does not exist"):
        FSD50K(source=source, splits=["eval"], licences=["by"], data_dir=tmp_path)
    text(source / "FSD50K.metadata" / "eval_clips_info_FSD50K.json", '{"37199": {"title": "x"}}')
    with pytest.raises(AudioSepError, match=r"eval_clips_info_FSD50K\.json lacks the licence of a clip"):
        FSD50K(source=source, splits=["eval"], licences=["by"], data_dir=tmp_path)


def test_without_the_annotators_table_the_caption_names_all_classes(tmp_path):
    table(tmp_path / "FSD50K.ground_truth" / "eval.csv", "fname,labels,mids", (1, "Rain,Water", "a,b"))
    (tmp_path / "FSD50K.eval_audio").mkdir()
    (tmp_path / "FSD50K.eval_audio" / "1.wav").touch()
    (row,) = FSD50K(source=tmp_path, data_dir=tmp_path / "out").rows
    assert row.captions == ("rain, water",)


def test_a_resumed_build_ends_with_the_same_bytes(prepared):
    assert prepared.is_the_same_after_an_interruption()
