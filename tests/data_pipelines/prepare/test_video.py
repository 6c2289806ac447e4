import numpy as np
import pytest
from pipelines_sounds import tone, write_wav
from videos import RATE, SECONDS, write_video

from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora.audio_folder import AudioFolder
from data_pipelines.prepare import video
from data_pipelines.prepare.frames import read_frames


def test_entries_of_frames():
    assert video.split_entry("a/b.mp4#frames=8") == ("a/b.mp4", 8)
    assert video.split_entry("a/b#1.mp4#frames=8") == ("a/b#1.mp4", 8)
    assert video.split_entry("a/b.jpg") is video.split_entry("a/*.jpg") is None


def test_sound_files_are_read_without_pyav(tmp_path):
    write_wav(tmp_path / "a.wav", tone(1, seconds=0.2))
    assert len(video.read_sound(tmp_path / "a.wav", sample_rate_hz=4000)) == 800


def test_a_missing_video_is_named(tmp_path):
    with pytest.raises(AudioSepError, match=r"a\.mp4 does not exist"):
        video.read_sound(tmp_path / "a.mp4", sample_rate_hz=8000)
    with pytest.raises(AudioSepError, match=r"a\.mp4 does not exist"):
        read_frames(tmp_path, ["a.mp4#frames=2"])


@pytest.mark.extras
@pytest.mark.parametrize(
    ("name", "codecs", "tolerance"),
    [
        ("a.mkv", {"audio": "flac"}, 1e-4),
        ("a.mov", {"audio": "pcm_s16le"}, 1e-4),
        ("a.mp4", {"audio": "aac"}, 0.05),
        ("a.m4a", {"audio": "aac", "images": False}, 0.05),
    ],
)
def test_the_sound_of_a_video_is_the_mean_of_its_channels(tmp_path, name, codecs, tolerance):
    write_video(tmp_path / name, **codecs)
    waveform = video.read_sound(tmp_path / name, sample_rate_hz=RATE)
    expected = 0.75 * tone(3, seconds=SECONDS, rate=RATE)
    assert waveform.dtype == np.float32
    assert abs(len(waveform) - len(expected)) <= 2048
    inner = slice(2000, 14_000)
    assert np.max(np.abs(waveform[inner] - expected[inner])) < tolerance
    half = video.read_sound(tmp_path / name, sample_rate_hz=RATE // 2)
    assert abs(2 * len(half) - len(waveform)) <= 2


@pytest.mark.extras
def test_a_video_that_was_cut_off_or_has_no_sound_is_refused(tmp_path):
    write_video(tmp_path / "a.mkv", audio="flac")
    whole = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "b.mkv").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        AudioSepError, match=r"b\.mkv (is cut off: 0\.\d s of 1\.\d s|cannot be decoded as video or sound)"
    ):
        video.read_sound(tmp_path / "b.mkv", sample_rate_hz=RATE)
    write_video(tmp_path / "c.mp4", sounds=False)
    with pytest.raises(AudioSepError, match=r"c\.mp4 has no sound"):
        video.read_sound(tmp_path / "c.mp4", sample_rate_hz=RATE)
    (tmp_path / "d.webm").write_text("no video")
    with pytest.raises(AudioSepError, match=r"d\.webm cannot be decoded as video or sound"):
        video.read_sound(tmp_path / "d.webm", sample_rate_hz=RATE)


@pytest.mark.extras
def test_any_folder_may_hold_videos_and_take_frames_from_them(tmp_path):
    write_video(tmp_path / "a.mp4")
    (tmp_path / "clips.csv").write_text("file,captions,frames\na.mp4,a tone,a.mp4#frames=2\n")
    builder = AudioFolder(source=tmp_path, data_dir=tmp_path / "out")
    example = builder.encoder()(builder.rows[0])
    assert len(example.frames) == 2
    assert example.frames == read_frames(tmp_path, ["a.mp4#frames=2"])
    assert abs(example.samples - 32_000) < 4096
