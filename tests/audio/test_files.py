"""Sound files: written samples are read back, and every unusable file is refused with its name and reason."""

import os
import resource
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiosep_jax.audio import writing
from audiosep_jax.audio.reading import AudioReader, decode_audio, read_audio
from audiosep_jax.audio.writing import AudioWriter, write_audio
from audiosep_jax.errors import AudioSepError

LOSSLESS = [
    (".wav", "PCM_U8", 2**-7),
    (".wav", None, 2**-15),
    (".wav", "PCM_24", 2**-23),
    (".wav", "PCM_32", 2**-24),
    (".wav", "FLOAT", 0),
    (".wav", "DOUBLE", 0),
    (".flac", None, 2**-15),
    (".flac", "PCM_24", 2**-23),
    (".aiff", "PCM_16", 2**-15),
    (".w64", "PCM_16", 2**-15),
]


def sound(channels=2, seconds=0.5, rate=44_100, seed=0):
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(size=(channels, len(time)))
    return (0.4 * np.sin(2 * np.pi * 440 * time) + 0.01 * noise).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(("suffix", "subtype", "step"), LOSSLESS)
def test_lossless_formats_return_the_nearest_step(tmp_path, suffix, subtype, step, channels):
    path = tmp_path / f"sound{suffix}"
    waveform = sound(channels)
    write_audio(path, waveform, sample_rate_hz=44_100, subtype=subtype)
    recording = read_audio(path)
    assert recording.sample_rate_hz == 44_100
    assert recording.waveform.dtype == np.float32
    np.testing.assert_allclose(recording.waveform, waveform, rtol=0, atol=step / 2)


@pytest.mark.parametrize(("suffix", "rate"), [(".ogg", 44_100), (".ogg", 11_025), (".mp3", 44_100)])
def test_lossy_formats_keep_length_and_sound(tmp_path, suffix, rate):
    path = tmp_path / f"sound{suffix}"
    waveform = sound(2, rate=rate)
    write_audio(path, waveform, sample_rate_hz=rate)
    recording = read_audio(path)
    assert recording.sample_rate_hz == rate
    assert recording.waveform.shape == waveform.shape
    assert np.corrcoef(recording.waveform[0], waveform[0])[0, 1] > 0.99


@pytest.mark.parametrize(
    "name", ["🎵 dog.wav", "line\nbreak.wav", " space .flac", "UPPER.WAV", "é" * 100 + ".ogg"]
)
def test_unusual_names_work(tmp_path, name):
    write_audio(tmp_path / name, sound(1), sample_rate_hz=8000)
    assert read_audio(tmp_path / name).waveform.shape == (1, 22_050)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_error_is_one_line_even_if_the_name_is_not(tmp_path):
    with pytest.raises(AudioSepError) as error:
        read_audio(tmp_path / "line\nbreak.wav")
    assert "\n" not in str(error.value)


def test_too_loud_is_clipped_and_rounded_to_nearest(tmp_path):
    path = tmp_path / "loud.wav"
    write_audio(path, np.array([2.0, -2.0, 0.6 / 32768, -0.6 / 32768, 0.4 / 32768]), sample_rate_hz=8000)
    steps, _ = soundfile.read(path, dtype="int16")
    np.testing.assert_array_equal(steps, [32767, -32768, 1, -1, 0])
    write_audio(tmp_path / "loud.ogg", 3 * sound(1), sample_rate_hz=44_100)
    assert np.abs(read_audio(tmp_path / "loud.ogg").waveform).max() < 1.2


def test_int32_blocks_carry_every_bit(tmp_path):
    path = tmp_path / "steps.wav"
    steps = np.array([[2**31 - 1, -(2**31), 1, -1, 0]], np.int32)
    with AudioWriter(path, sample_rate_hz=8000, channels=1, subtype="PCM_32") as writer:
        writer.write(steps)
    with AudioReader(path) as reader:
        np.testing.assert_array_equal(next(reader.blocks(dtype=np.int32)), steps)


def test_blocks_join_to_the_file_and_start_over(tmp_path):
    path = tmp_path / "sound.flac"
    write_audio(path, sound(2), sample_rate_hz=44_100)
    with AudioReader(path) as reader:
        assert (reader.channels, reader.sample_rate_hz, reader.samples) == (2, 44_100, 22_050)
        assert (reader.format, reader.subtype) == ("FLAC", "PCM_16")
        for _ in range(2):
            blocks = list(reader.blocks(1000))
            assert {block.shape[1] for block in blocks[:-1]} == {1000}
            np.testing.assert_array_equal(np.concatenate(blocks, axis=1), read_audio(path).waveform)


def test_reading_resamples_and_averages_channels(tmp_path):
    path = tmp_path / "sound.wav"
    waveform = sound(2)
    write_audio(path, waveform, sample_rate_hz=44_100, subtype="FLOAT")
    recording = read_audio(path, sample_rate_hz=16_000, mono=True)
    assert recording.sample_rate_hz == 16_000
    assert recording.waveform.shape == (1, 8000)
    np.testing.assert_allclose(read_audio(path, mono=True).waveform[0], waveform.mean(axis=0), atol=1e-7)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_a_crop_of_encoded_bytes_is_a_slice_of_the_file(tmp_path, suffix):
    path = tmp_path / f"sound{suffix}"
    write_audio(path, sound(1, seconds=4), sample_rate_hz=44_100)
    whole, data = read_audio(path).waveform, path.read_bytes()
    crop = decode_audio(data, start=70_001, samples=50_000)
    assert crop.sample_rate_hz == 44_100
    np.testing.assert_allclose(crop.waveform, whole[:, 70_001:120_001], atol=1e-4)
    assert decode_audio(data, start=176_000, samples=50_000).waveform.shape == (1, 400)
    with pytest.raises(AudioSepError, match=r"clip 7 holds no samples from 176400"):
        decode_audio(data, start=176_400, samples=1, name="clip 7")
    with pytest.raises(AudioSepError, match="clip 7"):
        decode_audio(b"nothing", name="clip 7")


# Files that cannot be used.


def refuse(path, reason):
    with pytest.raises(AudioSepError, match=reason) as error:
        read_audio(path)
    assert str(path) in str(error.value)


def test_missing_folder_device_and_text_are_refused(tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "notes.wav").write_text("dear diary " * 1000)
    (tmp_path / "notes.raw").write_text("dear diary " * 1000)
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 8000)
    refuse(tmp_path / "missing.wav", "does not exist")
    refuse(tmp_path, "is a folder")
    refuse(Path(os.devnull), "not a regular file")
    refuse(tmp_path / "empty.wav", "empty \\(0 bytes\\)")
    refuse(tmp_path / "nothing.wav", "no samples")
    refuse(tmp_path / "notes.wav", "not a sound file")
    refuse(tmp_path / "notes.raw", "not a sound file")
    refuse(tmp_path / "notes.wav" / "inside.wav", "cannot be read")
    refuse(tmp_path / ("x" * 300 + ".wav"), "cannot be read")
    with pytest.raises(AudioSepError, match="cannot be read"):
        read_audio("null\0byte.wav")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path, bad):
    waveform = sound(1)
    waveform[0, 12_345] = bad
    path = tmp_path / "bad.wav"
    soundfile.write(path, waveform.T, 44_100, subtype="FLOAT")
    refuse(path, "NaN or infinite")
    with pytest.raises(AudioSepError, match="NaN or infinite"):
        decode_audio(path.read_bytes())
    with pytest.raises(AudioSepError, match="NaN or infinity"):
        write_audio(tmp_path / "out.wav", waveform, sample_rate_hz=8000)
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".aiff", ".w64", ".rf64"])
def test_a_file_that_was_cut_off_is_refused(tmp_path, suffix, share):
    path = tmp_path / f"sound{suffix}"
    write_audio(path, sound(2, seconds=4), sample_rate_hz=44_100)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refuse(path, "truncated or damaged")


@pytest.mark.parametrize("kept", [20, 44])
def test_a_wav_that_is_all_header_is_refused(tmp_path, kept):
    path = tmp_path / "header.wav"
    write_audio(path, sound(1), sample_rate_hz=44_100)
    path.write_bytes(path.read_bytes()[:kept])
    refuse(path, "truncated|not a sound file")


def with_length(flac: bytes, samples: int) -> bytes:
    # STREAMINFO begins at byte 8; its bytes 10 to 18 end with 36 bits of length.
    field = int.from_bytes(flac[18:26], "big") & ~((1 << 36) - 1) | samples
    return flac[:18] + field.to_bytes(8, "big") + flac[26:]


def test_a_header_that_claims_hours_costs_no_memory(tmp_path):
    path = tmp_path / "hours.flac"
    write_audio(path, sound(1), sample_rate_hz=44_100)
    path.write_bytes(with_length(path.read_bytes(), 44_100 * 3600 * 24))
    tracemalloc.start()
    try:
        refuse(path, "22050 of 3810240000 samples")
        decode_audio(path.read_bytes())
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_streams_that_do_not_know_their_length_are_read_to_the_end(tmp_path):
    flac, wav = tmp_path / "piped.flac", tmp_path / "piped.wav"
    for path in (flac, wav):
        write_audio(path, sound(1), sample_rate_hz=44_100)
    flac.write_bytes(with_length(flac.read_bytes(), 0))
    data = bytearray(wav.read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4  # as ffmpeg writes into a pipe
    wav.write_bytes(data)
    assert read_audio(flac).waveform.shape == read_audio(wav).waveform.shape == (1, 22_050)


def test_an_mp3_whose_length_is_only_estimated_is_read(tmp_path):
    path = tmp_path / "sound.mp3"
    soundfile.write(path, sound(1, seconds=4).T, 44_100, bitrate_mode="CONSTANT", compression_level=0.5)
    data = path.read_bytes()
    path.write_bytes(data[data.index(data[:2], 4) :])  # without the frame that holds the length
    assert abs(read_audio(path).waveform.shape[1] - 4 * 44_100) < 4 * 1152


@pytest.fixture
def ordinary_user(tmp_path):
    """Root may read and write everything, so the test runs as another user."""
    if os.geteuid() != 0:
        yield
        return
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_files_and_folders_without_permission_are_refused(tmp_path, request):
    secret, closed = tmp_path / "secret.wav", tmp_path / "closed"
    write_audio(secret, sound(1), sample_rate_hz=8000)
    secret.chmod(0)
    closed.mkdir(mode=0o555)
    request.getfixturevalue("ordinary_user")
    refuse(secret, "cannot be read: Permission denied")
    with pytest.raises(AudioSepError, match=r"closed/a\.wav cannot be written \(Permission denied\)"):
        write_audio(closed / "a.wav", sound(1), sample_rate_hz=8000)


# Writing.


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".aiff", ".w64", ".rf64"])
def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path, suffix):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        with pytest.raises(AudioSepError, match=r"cannot be written .*free space"):
            write_audio(tmp_path / f"a{suffix}", sound(2, seconds=10), sample_rate_hz=44_100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_file_appears_when_complete_and_not_before(tmp_path):
    path = tmp_path / "a.wav"
    write_audio(path, np.zeros(10), sample_rate_hz=8000)
    old = path.read_bytes()

    def write_and_fail():
        with AudioWriter(path, sample_rate_hz=8000, channels=1) as writer:
            writer.write(sound(1))
            assert path.read_bytes() == old
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert path.read_bytes() == old
    with AudioWriter(path, sample_rate_hz=8000, channels=1) as writer:
        writer.write(sound(1))
    assert path.read_bytes() != old
    assert [each.name for each in tmp_path.iterdir()] == ["a.wav"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_unusable_outputs_are_refused(tmp_path):
    (tmp_path / "folder.wav").mkdir()
    for name, waveform, arguments, reason in [
        ("folder.wav", sound(1), {}, "is a folder"),
        ("missing/a.wav", sound(1), {}, "missing is not a folder: create it"),
        ("a.xyz", sound(1), {}, "no suffix of a known sound format: use one of .wav"),
        ("a", sound(1), {}, "no suffix"),
        ("a.flac", sound(1), {"subtype": "FLOAT"}, "cannot hold FLOAT"),
        ("a.mp3", sound(3), {}, r"3 channel\(s\)"),
        ("a.wav", sound(1)[:, :0], {}, "there are no samples"),
        ("a.wav", np.zeros((2, 3, 4)), {}, r"\(2, 3, 4\)"),
        ("a.wav", np.zeros(4, np.int16), {}, "int16"),
    ]:
        with pytest.raises(AudioSepError, match=reason):
            write_audio(tmp_path / name, waveform, sample_rate_hz=44_100, **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.wav"]


def test_a_wav_beyond_4_gb_becomes_rf64_or_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_WAV_LIMIT_BYTES", 20_000)
    write_audio(tmp_path / "long.wav", sound(1), sample_rate_hz=44_100)
    with AudioReader(tmp_path / "long.wav") as reader:
        assert (reader.format, reader.samples) == ("RF64", 22_050)

    def write_without_a_length():
        with AudioWriter(tmp_path / "unknown.wav", sample_rate_hz=8000, channels=1) as writer:
            for _ in range(10):
                writer.write(np.zeros((1, 4000)))

    with pytest.raises(AudioSepError, match=r"exceed the 4 GB .*\.flac"):
        write_without_a_length()
    assert [path.name for path in tmp_path.iterdir()] == ["long.wav"]
