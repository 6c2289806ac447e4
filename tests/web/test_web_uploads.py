import struct

import numpy as np
import pytest
import soundfile
from web_server import noise, wav

from audiosep_jax.audio.reading import read_audio
from audiosep_jax.errors import AudioSepError
from audiosep_jax.web.example_mixtures import EXAMPLES, write_examples
from audiosep_jax.web.limits import Limits
from audiosep_jax.web.uploads import playable, read_sound

LIMITS = Limits(sound_seconds=10)


@pytest.fixture
def sound(tmp_path):
    def write(content, name="street.wav"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def test_facts_about_a_sound(sound):
    stereo = noise(2.0, 96_000, channels=2)
    known = read_sound(sound(wav(stereo, 96_000, "PCM_24")), LIMITS)
    assert (known.seconds, known.channels, known.sample_rate_hz, known.drawn_hz) == (2.0, 2, 96_000, 48_000)
    assert known.drawn.shape == (96_000,)
    mono = read_sound(sound(wav(noise(0.5, 8000), 8000)), LIMITS)
    assert (mono.drawn_hz, mono.drawn.shape) == (8000, (4000,))


def test_a_too_long_recording_is_refused_before_decoding(sound):
    # A FLAC whose header promises ten hours, and whose only frame is not one.
    streaminfo = struct.pack(">HH", 4096, 4096) + bytes(6)
    streaminfo += ((16_000 << 44) | (15 << 36) | (36_000 * 16_000)).to_bytes(8, "big") + bytes(16)
    flac = sound(b"fLaC\x80\x00\x00\x22" + streaminfo + b"\xff" * 1000, "night.flac")
    with pytest.raises(
        AudioSepError, match=r"is 10\.0 h long: the page takes up to 10\.0 s of sound\. The command"
    ):
        read_sound(flac, LIMITS)
    with pytest.raises(AudioSepError, match=r"is 10\.1 s long"):
        read_sound(sound(wav(np.zeros(80_800), 8000)), LIMITS)
    assert read_sound(sound(wav(np.zeros(80_000), 8000)), LIMITS).seconds == 10


def test_more_channels_reduce_the_longest_length(sound):
    assert Limits(sound_seconds=10).seconds_for(1) == Limits(sound_seconds=10).seconds_for(2) == 10
    eight = sound(wav(np.zeros((8, 8000 * 3)), 8000))
    with pytest.raises(
        AudioSepError, match=r"3\.0 s long: the page takes up to 2\.5 s of sound with 8 channels"
    ):
        read_sound(eight, LIMITS)
    assert read_sound(sound(wav(np.zeros((8, 8000 * 2)), 8000)), LIMITS).channels == 8


def test_a_stream_without_a_length_is_read_up_to_the_limit(sound):
    content = bytearray(wav(np.zeros(8000 * 60), 8000, form="AU"))
    content[8:12] = b"\xff\xff\xff\xff"
    with pytest.raises(AudioSepError, match=r"is too long|60\.0 s long"):
        read_sound(sound(bytes(content), "stream.au"), LIMITS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty"),
        (b"a dog barking, written down", r"is not a sound file"),
        (wav(noise())[:20_000], r"truncated|damaged"),
        (wav(np.zeros(0)), r"holds no samples"),
        (wav(np.array([0.1, np.nan, 0.2]), subtype="FLOAT"), r"holds NaN or infinite samples"),
        (wav(np.array([0.1, np.inf, 0.2]), subtype="FLOAT"), r"holds NaN or infinite samples"),
        (wav(noise(0.1, 400_000), 400_000), r"400000 samples a second"),
    ],
    ids=["empty", "text", "truncated", "none", "nan", "infinite", "rate"],
)
def test_unusable_files_are_refused(sound, content, message):
    with pytest.raises(AudioSepError, match=message):
        read_sound(sound(content), LIMITS)


@pytest.mark.parametrize(
    ("form", "subtype", "name"),
    [("WAV", "PCM_24", "mixture.wav"), ("FLAC", "PCM_16", "mixture.flac"), ("OGG", "VORBIS", "mixture.ogg")],
)
def test_browsers_get_the_file_itself_if_they_play_it(sound, tmp_path, form, subtype, name):
    path = sound(wav(noise(), subtype=subtype, form=form), "street")
    folder = tmp_path / "result"
    folder.mkdir()
    given = playable(path, folder)
    assert given.name == name
    assert given.samefile(path)


@pytest.mark.parametrize(
    ("form", "subtype"), [("AIFF", "PCM_16"), ("AIFF", "PCM_24"), ("AIFF", "PCM_32"), ("CAF", "FLOAT")]
)
def test_browsers_get_a_wav_with_the_same_samples_otherwise(sound, tmp_path, form, subtype):
    path = sound(wav(noise(channels=2), subtype=subtype, form=form), "street")
    given = playable(path, tmp_path)
    assert given.name == "mixture.wav"
    kind = "float32" if subtype == "FLOAT" else "int32"
    assert np.array_equal(soundfile.read(given, dtype=kind)[0], soundfile.read(path, dtype=kind)[0])


def test_the_examples_are_mixtures_that_can_be_separated(tmp_path):
    paths = write_examples(tmp_path)
    assert len(paths) == len(EXAMPLES) == len({example.title for example in EXAMPLES})
    for path, example in zip(paths, EXAMPLES, strict=True):
        recording = read_audio(path)
        assert recording.waveform.shape == (1, 160_000)
        assert np.abs(recording.waveform).max() > 0.05
        assert example.query or example.without


def test_limits_are_positive():
    for wrong in ({"sound_seconds": 0}, {"work_seconds": float("nan")}, {"kept_seconds": -1}):
        with pytest.raises(AudioSepError, match="give a positive number"):
            Limits(**wrong)
    for wrong in ({"upload_bytes": 0}, {"waiting": 0}, {"query_letters": 0}):
        with pytest.raises(AudioSepError, match="is below 1: raise it"):
            Limits(**wrong)
