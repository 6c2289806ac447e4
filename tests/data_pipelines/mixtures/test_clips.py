import hashlib
import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from pipelines_sounds import RATE, write_wav

from audiosep_jax.errors import AudioSepError
from data_pipelines.mixtures import records
from data_pipelines.mixtures.clips import ClipRow, decode_flac, encode_flac
from data_pipelines.prepare.encoding import MediaEncoder

ROW = ClipRow(file="a.wav", captions=("a sound",), label="sound")


def encode(folder, waveform, *, rate=RATE):
    write_wav(folder / "a.wav", waveform, rate=rate)
    return MediaEncoder(folder, RATE)(ROW)


def decode(example):
    out = np.empty(example.samples, np.float32)
    decode_flac(example.audio.tobytes(), out, start=0)
    return out


def test_a_clip_of_16_bit_at_the_dataset_s_rate_is_stored_exactly(tmp_path):
    pcm = np.random.default_rng(0).integers(-32_768, 32_767, 5000, dtype=np.int16, endpoint=True)
    example = encode(tmp_path, pcm)
    assert (example.id, example.source, example.samples) == ("a.wav", "a.wav", 5000)
    np.testing.assert_array_equal(decode(example), pcm / np.float32(32_768))


def test_stereo_at_another_rate_becomes_mono_at_the_dataset_s(tmp_path):
    time = np.arange(44_100) / 44_100
    sine = 0.5 * np.sin(2 * np.pi * 440 * time)
    example = encode(tmp_path, np.stack([sine, np.zeros_like(sine)], 1), rate=44_100)
    assert example.samples == RATE
    wanted = 0.25 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(decode(example)[200:-200], wanted[200:-200], atol=2e-3)


def test_a_peak_above_full_scale_is_scaled_down_not_clipped(tmp_path):
    waveform = 3 * np.sin(np.arange(4000) / 5)
    soundfile.write(tmp_path / "a.wav", waveform, RATE, subtype="FLOAT")
    stored = decode(MediaEncoder(tmp_path, RATE)(ROW))
    np.testing.assert_allclose(stored, waveform / np.abs(waveform).max(), atol=2e-4)


def test_active_spans_the_sound_between_digital_silence(tmp_path):
    waveform = np.zeros(6000)
    waveform[1000:2500] = 0.3
    example = encode(tmp_path, waveform)
    np.testing.assert_array_equal(example.active, [1000, 2500])


@pytest.mark.parametrize(
    ("waveform", "reason"),
    [
        (np.zeros(4000), "silent"),
        (np.full(4000, 5e-5), "silent"),
        (np.where(np.arange(4000) == 3999, np.nan, 0.1), "NaN"),
        (np.zeros(0), "no samples"),
    ],
)
def test_unusable_sound_is_named_with_its_reason(tmp_path, waveform, reason):
    soundfile.write(tmp_path / "a.wav", waveform, RATE, subtype="FLOAT")
    with pytest.raises(AudioSepError, match=reason) as caught:
        MediaEncoder(tmp_path, RATE)(ROW)
    assert "a.wav" in str(caught.value)


NOISE = (np.random.default_rng(1).standard_normal(60_000) * 3000).astype(np.int16)
FLAC = encode_flac(NOISE, sample_rate_hz=RATE)


@given(start=st.integers(0, len(NOISE) - 1), data=st.data())
def test_a_crop_equals_the_same_part_of_the_whole(start, data):
    length = data.draw(st.integers(1, len(NOISE) - start))
    out = np.empty(length, np.float32)
    decode_flac(FLAC, out, start=start)
    np.testing.assert_array_equal(out, NOISE[start : start + length] / np.float32(32_768))


def test_only_the_crop_is_decoded(monkeypatch):
    flac = encode_flac(np.tile(NOISE, 20), sample_rate_hz=RATE)
    read = []

    class Counting(io.BytesIO):
        def read(self, size=-1):
            read.append(size)
            return super().read(size)

        def readinto(self, buffer):
            read.append(len(buffer))
            return super().readinto(buffer)

    monkeypatch.setattr("data_pipelines.mixtures.clips.io.BytesIO", Counting)
    decode_flac(flac, np.empty(RATE, np.float32), start=700_000)
    assert 0 < sum(read) < len(flac) / 3


def test_a_crop_beyond_the_end_is_an_error_and_never_silence():
    with pytest.raises(AudioSepError, match="ends after 60000 samples where 60001"):
        decode_flac(FLAC, np.empty(2, np.float32), start=len(NOISE) - 1)


@pytest.mark.parametrize(
    "damage", [lambda flac: b"fLaX" + flac[4:], lambda flac: flac[:3000], lambda flac: b""]
)
def test_damaged_bytes_are_an_error(damage):
    with pytest.raises(AudioSepError, match="prepare the dataset again"):
        decode_flac(damage(FLAC), np.empty(50_000, np.float32), start=0)


@pytest.mark.parametrize(
    ("frames", "labels", "known"),
    [
        (False, False, "8e7fd0f69604b83ee45575118fc19382cfbb16d73d7098b28ef73e56754bed08"),
        (False, True, "c1f4b750eec780767d9d839e049428e844c8e31631a8f6e7ddae4f46b9449348"),
        (True, False, "b9bf6e243ef5016dec4bc65db79fc76378de594339b2af00887a3293630e0419"),
        (True, True, "08431a277773707d454752cf134e85f221859623227e21740bd2ddeddc0b06a6"),
    ],
)
def test_a_record_stays_what_it_is(frames, labels, known):
    """Shards of two releases are the same bytes: change this only knowingly."""
    values = {
        "active": np.array([3, 9]),
        "audio": np.arange(12, dtype=np.uint8),
        "captions": ("a dog", "ein Hund, später"),
        **({"frames": (b"\xff\xd8one", b"two")} if frames else {}),
        "id": "a/é.wav",
        "label": "dog",
        **({"labels": ("dog", "animal")} if labels else {}),
        "samples": 12,
        "source": "a",
    }
    record = records.serialise(values, frames=frames, labels=labels)
    assert hashlib.sha256(record).hexdigest() == known
