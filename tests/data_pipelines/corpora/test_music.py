import io
import json
import sys

import pytest
from corpus_folders import Prepared, damaged, sound, text
from PIL import Image
from videos import write_video

from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora.music import Music
from data_pipelines.prepare import video

SOLO = {
    "version": 1.0,
    "videos": {
        "acoustic_guitar": ["8DHG_hVSw1o", "-_guitar_01", "8DHG_hVSw1o"],
        "violin": ["YviolinYYYY", "gonegonegon", "brokenbroke"],
    },
}
DUET = {"version": 1.0, "videos": {"saxophone acoustic_guitar": ["ywH4K8mQ-1s"]}}


def lists(source):
    text(source / "MUSIC_solo_videos.json", json.dumps(SOLO, indent=4))
    text(source / "MUSIC_dataset" / "MUSIC_duet_videos.json", json.dumps(DUET))


def test_sounds_cut_into_segments_are_clips_of_one_video(tmp_path):
    source = tmp_path / "source"
    lists(source)
    sound(source / "acoustic_guitar" / "8DHG_hVSw1o_0.wav", 1)
    sound(source / "acoustic_guitar" / "Y8DHG_hVSw1o_12.wav", 2)
    sound(source / "acoustic_guitar" / "-_guitar_01.wav", 3)
    sound(source / "violin" / "YviolinYYYY.wav", 4)
    damaged(source / "violin" / "brokenbroke.wav")
    sound(source / "saxophone acoustic_guitar" / "ywH4K8mQ-1s.flac", 5)
    prepared = Prepared("music", source, "--max-failed-share", 0.5)
    assert {clip: (known.label, known.source) for clip, known in prepared.clips("solo").items()} == {
        "acoustic_guitar/8DHG_hVSw1o_0.wav": ("acoustic guitar", "8DHG_hVSw1o"),
        "acoustic_guitar/Y8DHG_hVSw1o_12.wav": ("acoustic guitar", "8DHG_hVSw1o"),
        "acoustic_guitar/-_guitar_01.wav": ("acoustic guitar", "-_guitar_01"),
        "violin/YviolinYYYY.wav": ("violin", "YviolinYYYY"),
    }
    (duet,) = prepared.clips("duet").values()
    assert duet.captions == ("saxophone, acoustic guitar",)
    assert duet.labels == ("saxophone", "acoustic guitar")
    assert prepared.report["missing"] == ["violin/gonegonegon.mp4"]
    assert list(prepared.skipped) == ["violin/brokenbroke.wav"]
    assert prepared.is_the_same_after_an_interruption()


@pytest.mark.extras
def test_videos_give_sound_and_images(tmp_path):
    source = tmp_path / "source"
    lists(source)
    write_video(source / "solo" / "acoustic_guitar" / "8DHG_hVSw1o.mp4")
    sound(source / "solo" / "acoustic_guitar" / "8DHG_hVSw1o.wav", 1)
    write_video(source / "solo" / "violin" / "YYviolinYYYY.webm", audio="libopus", video="libvpx")
    write_video(source / "solo" / "violin" / "gonegonegon.mkv", images=False)
    whole = (source / "solo" / "acoustic_guitar" / "8DHG_hVSw1o.mp4").read_bytes()
    (source / "solo" / "violin" / "brokenbroke.mp4").write_bytes(whole[: len(whole) // 2])
    prepared = Prepared("music", source, "--frames", 3, "--splits", "solo", "--max-failed-share", 0.5)
    store = prepared.store("solo")
    images = {
        clip.id: [Image.open(io.BytesIO(jpeg)) for jpeg in store.frames(index)]
        for index, clip in enumerate(store.clips)
    }
    assert {clip: [image.size for image in found] for clip, found in images.items()} == {
        "solo/acoustic_guitar/8DHG_hVSw1o.mp4": [(64, 48)] * 3,
        "solo/violin/YYviolinYYYY.webm": [(64, 48)] * 3,
    }
    for found in images.values():  # the video becomes brighter with time
        shades = [image.convert("L").getpixel((32, 24)) for image in found]
        assert shades == sorted(shades)
        assert shades[-1] - shades[0] > 60
    assert "has no images, only sound" in prepared.skipped["solo/violin/gonegonegon.mkv"]
    assert "cannot be decoded as video or sound" in prepared.skipped["solo/violin/brokenbroke.mp4"]
    assert prepared.report["missing"] == ["acoustic_guitar/-_guitar_01.mp4"]
    assert prepared.report["with_frames"] == 2
    assert prepared.is_the_same_after_an_interruption()


def test_a_missing_pyav_is_named_with_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    lists(tmp_path)
    (tmp_path / "8DHG_hVSw1o.mp4").write_bytes(b"x")
    with pytest.raises(
        AudioSepError, match=r"mp4 needs the package av, .*pip install 'audiosep_jax\[video\]'"
    ):
        Music(source=tmp_path, splits=["solo"], data_dir=tmp_path / "out")
    with pytest.raises(AudioSepError, match=r"8DHG_hVSw1o\.mp4 needs the package av"):
        video.read_sound(tmp_path / "8DHG_hVSw1o.mp4", sample_rate_hz=8000)
    (tmp_path / "8DHG_hVSw1o.mp4").rename(
        tmp_path / "8DHG_hVSw1o.wav"
    )  # the others would be videos, but are gone
    assert len(Music(source=tmp_path, splits=["solo"], data_dir=tmp_path / "out").rows) == 5


@pytest.mark.parametrize("content", ["[]", "{}", '{"videos": []}', '{"videos": {"violin": [3]}}'])
def test_a_list_of_another_shape_is_refused(tmp_path, content):
    text(tmp_path / "MUSIC_solo_videos.json", content)
    with pytest.raises(AudioSepError, match=r"MUSIC_solo_videos\.json is not a list of videos by instrument"):
        Music(source=tmp_path, data_dir=tmp_path / "out")


def test_a_negative_number_of_frames_is_refused(tmp_path):
    with pytest.raises(AudioSepError, match="The number of frames is -1: give 0 or more"):
        Music(source=tmp_path, frames=-1, data_dir=tmp_path / "out")
