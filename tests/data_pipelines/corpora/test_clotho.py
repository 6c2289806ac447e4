import unicodedata

import pytest
from corpus_folders import Prepared, damaged, sound, table

from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora.clotho import Clotho

CAPTIONS = "file_name,caption_1,caption_2,caption_3,caption_4,caption_5"
METADATA = "file_name,keywords,sound_id,sound_link,start_end_samples,manufacturer,license"
BY, BY_NC = (f"http://creativecommons.org/licenses/{kind}/3.0/" for kind in ("by", "by-nc"))

MOTOR = "Santa Motor.wav"
FOZ = "09-07-14_2338_Foz, fisherman next to the river.wav"
CAFE = "Café 'am' #1 [50%] = 2.wav"


def five(what):
    return tuple(f"{what}, said in way {number}." for number in range(1, 6))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    source = tmp_path_factory.mktemp("clotho") / "source"
    table(
        source / "clotho_captions_development.csv",
        CAPTIONS,
        (MOTOR, *five("A motor runs")),
        (FOZ, *five("A river flows")),
        (CAFE, *five("People talk")),
        ("gone.wav", *five("Nothing is left")),
        ("broken.wav", *five("Something breaks")),
    )
    metadata = source / "clotho_metadata_development.csv"
    lines = [
        METADATA,
        f'{MOTOR},motor;Santa,30687,https://freesound.org/people/a/sounds/30687,"[0, 882000]",a,{BY}',
        f'"{FOZ}",Duero;água,246004,https://freesound.org/people/b/sounds/246004,"[1, 2]",José,{BY_NC}',
        f"{CAFE},café,Not found,Not found,,b,{BY}",
    ]
    metadata.write_bytes("\r\n".join(lines).encode("latin-1"))
    table(
        source / "clotho_captions_evaluation.csv", CAPTIONS, (MOTOR, *five("Another motor of that name runs"))
    )
    sound(source / "clotho_audio_development" / "development" / MOTOR, 1)
    sound(source / "clotho_audio_development" / "development" / FOZ, 2)
    sound(source / "clotho_audio_development" / "development" / unicodedata.normalize("NFD", CAFE), 3)
    damaged(source / "clotho_audio_development" / "development" / "broken.wav")
    sound(source / "evaluation" / MOTOR, 4)
    return source


@pytest.fixture(scope="module")
def prepared(source):
    return Prepared("clotho", source, "--max-failed-share", 0.5)


def test_clips_have_five_captions_and_the_recording_of_the_metadata(prepared):
    clips = prepared.clips("development")
    by_name = {unicodedata.normalize("NFC", clip.rpartition("/")[2]): known for clip, known in clips.items()}
    assert by_name[MOTOR].captions == five("A motor runs")
    assert {name: known.source for name, known in by_name.items()} == {
        MOTOR: "30687",
        FOZ: "246004",
        CAFE: CAFE,  # Freesound has lost it
    }


def test_a_name_of_two_splits_is_two_clips(prepared):
    (clip,) = prepared.clips("evaluation").values()
    assert clip.id == f"evaluation/{MOTOR}"
    assert clip.captions == five("Another motor of that name runs")
    assert clip.source == MOTOR  # there is no metadata of this split


def test_absent_files_are_missing_and_damaged_ones_are_skipped(prepared):
    assert prepared.report["missing"] == ["development/gone.wav"]
    assert list(prepared.skipped) == ["clotho_audio_development/development/broken.wav"]


def test_clips_may_be_chosen_by_licence(source, tmp_path):
    def chosen(*kinds):
        builder = Clotho(source=source, splits=["development"], licences=kinds, data_dir=tmp_path)
        return {row.source for row in builder.rows}

    assert chosen("by") == {"30687", CAFE}
    assert chosen("by", "by-nc") == {"30687", "246004", CAFE}
    with pytest.raises(AudioSepError, match="Freesound has no licence 'gpl': choose from cc0, by"):
        chosen("gpl")


def test_a_resumed_build_ends_with_the_same_bytes(prepared):
    assert prepared.is_the_same_after_an_interruption()
