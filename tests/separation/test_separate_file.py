"""Files in, files out: exact sums read back, no steps, constant memory, clean failures."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
from separation_models import CONDITION_SIZE, RATE, scene, scene_file

from audiosep_jax.audio.reading import read_audio
from audiosep_jax.errors import AudioSepError

CONDITION = np.linspace(-1, 1, CONDITION_SIZE)


def separate(model, path, out, **arguments):
    return model.separate_file(
        path,
        condition=CONDITION,
        estimate_path=out / "estimate.wav",
        residual_path=out / "residual.wav",
        **arguments,
    )


def steps(path, bits):
    data, _ = soundfile.read(path, dtype="int32", always_2d=True)
    return data.astype(np.int64) >> (32 - bits)


@pytest.mark.parametrize(
    ("suffix", "subtype", "written", "bits"),
    [
        (".wav", "PCM_U8", "PCM_U8", 8),
        (".wav", "PCM_16", "PCM_16", 16),
        (".flac", "PCM_24", "PCM_24", 24),
        (".wav", "PCM_32", "PCM_32", 32),
        (".aiff", "PCM_S8", "PCM_U8", 8),
    ],
)
@pytest.mark.parametrize("rate", [RATE, 22_050])
def test_pcm_adds_up_step_for_step(model, tmp_path, suffix, subtype, written, bits, rate):
    path = scene_file(tmp_path / f"in{suffix}", 12.3, rate=rate, channels=2, subtype=subtype)
    result = separate(model, path, tmp_path)
    mixture, estimate, residual = (
        steps(each, bits) for each in (path, result.estimate_path, result.residual_path)
    )
    assert soundfile.info(result.estimate_path).subtype == result.subtype == written
    assert (result.sample_rate_hz, result.channels, result.samples) == (rate, 2, len(mixture))
    np.testing.assert_array_equal(estimate + residual, mixture)
    assert np.abs(estimate).max() > 0


def test_full_scale_adds_up_where_clipping_would_break_it(model, tmp_path):
    draw = np.random.default_rng(0)
    mixture = np.where(draw.random(4 * RATE) < 0.5, -32768, 32767).astype(np.int16)
    path = tmp_path / "in.wav"
    soundfile.write(path, mixture, RATE)
    result = separate(model, path, tmp_path)
    estimate, residual = (steps(each, 16)[:, 0] for each in (result.estimate_path, result.residual_path))
    np.testing.assert_array_equal(estimate + residual, mixture)
    wanted = model.separate(mixture / 32768, RATE, condition=CONDITION).estimate
    clipped = np.rint((mixture / 32768 - wanted) * 32768)
    assert (np.abs(clipped + 0.5) > 32768).any(), "the scene must be one that naive clipping breaks"


def test_lossy_input_adds_up_in_24_bits(model, tmp_path):
    path = tmp_path / "in.ogg"
    soundfile.write(path, scene(5, rate=22_050, channels=2).T, 22_050)
    result = separate(model, path, tmp_path)
    assert result.subtype == "PCM_24"
    decoded = np.rint(read_audio(path).waveform.T.astype(np.float64) * 2**23)
    total = steps(result.estimate_path, 24) + steps(result.residual_path, 24)
    np.testing.assert_array_equal(total, np.clip(decoded, -(2**23), 2**23 - 1))


def test_float_input_stays_float_and_may_exceed_full_scale(model, tmp_path):
    path = tmp_path / "in.wav"
    mixture = (3 * scene(3)).astype(np.float32)
    soundfile.write(path, mixture.T, RATE, subtype="FLOAT")
    result = separate(model, path, tmp_path)
    assert result.subtype == "FLOAT"
    estimate, residual = (read_audio(each).waveform for each in (result.estimate_path, result.residual_path))
    error = np.abs(estimate.astype(np.float64) + residual - mixture).max()
    assert error <= 2**-23 * np.abs(mixture).max()
    in_memory = model.separate(mixture, RATE, condition=CONDITION)
    np.testing.assert_allclose(estimate, in_memory.estimate, atol=1e-5)


@pytest.mark.parametrize("seconds", [1 / RATE, 0.1, 9.99, 25])
def test_a_file_gives_the_same_as_an_array(model, tmp_path, seconds):
    path = scene_file(tmp_path / "in.wav", seconds, channels=2, subtype="PCM_24")
    result = separate(model, path, tmp_path)
    in_memory = model.separate(read_audio(path).waveform, RATE, condition=CONDITION)
    estimate = read_audio(result.estimate_path).waveform
    np.testing.assert_allclose(estimate, in_memory.estimate, atol=2**-23)
    energy = np.square(in_memory.estimate).sum() / np.square(read_audio(path).waveform).sum()
    assert result.level_db == pytest.approx(10 * np.log10(energy), abs=0.1)


def test_silence_stays_silence_and_progress_is_told(model, tmp_path):
    path, told = tmp_path / "in.wav", []
    soundfile.write(path, np.zeros((30 * RATE, 2)), RATE)
    result = separate(model, path, tmp_path, progress=lambda done, total: told.append((done, total)))
    assert not read_audio(result.estimate_path).waveform.any()
    assert result.level_db == -np.inf
    done, totals = zip(*told, strict=True)
    assert list(done) == sorted(done)
    assert done[-1] == 30 * RATE
    assert set(totals) == {30 * RATE}


def test_the_residual_can_be_left_out_and_flac_holds_pcm(model, tmp_path):
    path = scene_file(tmp_path / "in.wav", 1)
    result = model.separate_file(path, condition=CONDITION, estimate_path=tmp_path / "estimate.flac")
    assert result.residual_path is None
    assert soundfile.info(tmp_path / "estimate.flac").subtype == "PCM_16"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["estimate.flac", "in.wav"]


def test_outputs_never_replace_the_input_or_each_other(model, tmp_path):
    path = scene_file(tmp_path / "in.wav", 1)
    before = path.read_bytes()
    link, hard = tmp_path / "link.wav", tmp_path / "hard.wav"
    link.symlink_to(path)
    hard.hardlink_to(path)
    for outputs in [
        {"estimate_path": path},
        {"estimate_path": tmp_path / "x" / ".." / "in.wav"},
        {"estimate_path": link},
        {"estimate_path": tmp_path / "e.wav", "residual_path": hard},
        {"estimate_path": tmp_path / "e.wav", "residual_path": tmp_path / "e.wav"},
    ]:
        with pytest.raises(AudioSepError, match="would overwrite"):
            model.separate_file(path, condition=CONDITION, **outputs)
    assert path.read_bytes() == before


def test_a_refused_separation_leaves_no_file(model, tmp_path):
    good = scene_file(tmp_path / "in.wav", 12)
    loose = scene_file(tmp_path / "float.wav", 1, subtype="FLOAT")
    cut = tmp_path / "cut.wav"
    cut.write_bytes(good.read_bytes()[:-1000])
    out = tmp_path / "out"
    out.mkdir()
    for path, output, reason in [
        (cut, "e.wav", r"cut\.wav is truncated"),
        (good, "e.mp3", r"e\.mp3 cannot hold PCM_16"),
        (loose, "e.flac", r"e\.flac cannot hold FLOAT"),
        (good, "missing/e.wav", "missing is not a folder"),
        (tmp_path / "none.wav", "e.wav", "does not exist"),
    ]:
        with pytest.raises(AudioSepError, match=reason):
            model.separate_file(path, condition=CONDITION, estimate_path=out / output)
    with pytest.raises(KeyboardInterrupt):
        separate(model, good, out, progress=lambda done, total: (_ for _ in ()).throw(KeyboardInterrupt))
    assert not list(out.iterdir())


PEAK_MEMORY = """
import re, sys
from pathlib import Path
import audiosep_jax
audiosep_jax.load().separate_file(sys.argv[1], query="a dog barking",
                                  estimate_path=sys.argv[2], residual_path=sys.argv[3])
# Not getrusage: its maximum counts what the process that started this one held.
print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def peak_memory_bytes(tmp_path, seconds):
    """Of the bundled model in a process of its own, on stereo of 44.1 kHz; the sums are checked too."""
    path = tmp_path / "long.wav"
    block = (scene(30, rate=44_100, channels=2).T * 32767).astype(np.int16)
    with soundfile.SoundFile(path, "w", samplerate=44_100, channels=2) as file:
        for _ in range(seconds // 30):
            file.write(block)
    outputs = [tmp_path / "estimate.wav", tmp_path / "residual.wav"]
    finished = subprocess.run(
        [sys.executable, "-c", PEAK_MEMORY, path, *outputs], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert {soundfile.info(each).frames for each in (path, *outputs)} == {seconds * 44_100}
    blocks = [soundfile.blocks(each, 1 << 20, dtype="int32") for each in (path, *outputs)]
    loudest = 0
    for mixture, estimate, residual in zip(*blocks, strict=True):
        np.testing.assert_array_equal(estimate + residual, mixture)
        loudest = max(loudest, np.abs(estimate).max())
    assert loudest > 0
    return int(finished.stdout) * 1024


def test_one_minute_stays_below_one_and_a_half_gigabytes(tmp_path):
    assert peak_memory_bytes(tmp_path, 60) < 1.5e9


@pytest.mark.slow
def test_thirty_minutes_stay_below_one_and_a_half_gigabytes(tmp_path):
    assert peak_memory_bytes(tmp_path, 1800) < 1.5e9
