"""Gains, levels and the bytes of files."""

import hashlib
import io

import numpy as np
import pytest
import soundfile
from rendered_corpora import RATE, recipe, write_clips

from audiosep_jax.audio.reading import read_audio
from audiosep_jax.audio.writing import write_audio
from audiosep_jax.errors import AudioSepError
from data_pipelines.render.draws import Draw
from data_pipelines.render.mixture import find_gains, read_sound_file, render_draw, wav_bytes
from data_pipelines.render.recipe import Clip

RNG = np.random.default_rng(0)


def energy_db(waveform):
    return 10 * np.log10(np.mean(waveform**2))


@pytest.mark.parametrize(
    "samples",
    [RNG.integers(-(2**15), 2**15, 999).astype(np.int16), RNG.standard_normal(999).astype(np.float32)],
    ids=["int16", "float32"],
)
def test_wav_bytes_are_what_libsndfile_reads(samples):
    data = wav_bytes(samples, sample_rate_hz=22_050)
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert (file.samplerate, file.channels, file.frames) == (22_050, 1, 999)
        assert file.subtype == ("PCM_16" if samples.dtype == np.int16 else "FLOAT")
        assert "should be" not in file.extra_info
        np.testing.assert_array_equal(file.read(dtype=samples.dtype.name), samples)
    assert len(data) == samples.nbytes + (44 if samples.dtype == np.int16 else 58)
    assert b"PEAK" not in data  # libsndfile's chunk, which holds the time


@pytest.mark.parametrize(
    ("dtype", "known"),
    [
        ("int16", "99de2f723ee7cc820560b42a5aa62dfe9b0c2e0fce7ed9bfd29df3e788fa0eb7"),
        ("float32", "168e489efe023a77b81b01605173680e7f2f716747c04eff1cf684157ddaa234"),
    ],
)
def test_wav_bytes_stay_what_they_are(dtype, known):
    steps = np.random.default_rng(0).integers(-(2**15), 2**15, 999)
    samples = steps.astype(np.int16) if dtype == "int16" else (steps / 2**15).astype(np.float32)
    assert hashlib.sha256(wav_bytes(samples, sample_rate_hz=22_050)).hexdigest() == known


def test_a_wav_file_above_4_gb_is_an_error():
    for dtype, count in ((np.int16, 2**31), (np.float32, 2**30)):
        samples = np.broadcast_to(dtype(0), count)  # takes no memory
        with pytest.raises(AudioSepError, match="exceed the 4 GB that WAV can hold: make shorter ones"):
            wav_bytes(samples, sample_rate_hz=8000)


@pytest.mark.parametrize("snr_db", [-20.0, 0.0, 7.25, 30.0])
def test_interferers_are_equally_loud_and_their_sum_lies_at_the_snr(snr_db):
    segments = [scale * RNG.standard_normal(4000) for scale in (0.05, 0.5, 0.001)]
    gains = find_gains(segments, snr_db=snr_db)
    target, *others = (gain * segment for gain, segment in zip(gains, segments, strict=True))
    assert energy_db(target) - energy_db(sum(others)) == pytest.approx(snr_db, abs=1e-7)
    assert energy_db(others[0]) == pytest.approx(energy_db(others[1]), abs=1e-7)


def test_a_loud_mixture_is_scaled_to_a_peak_of_0_9():
    segments = [0.9 * np.sin(np.arange(4000)), 0.9 * np.cos(1.3 * np.arange(4000))]
    gains = find_gains(segments, snr_db=0)
    assert np.abs(gains[0] * segments[0] + gains[1] * segments[1]).max() == pytest.approx(0.9, abs=1e-6)
    assert gains[0] < 1


def test_a_quiet_mixture_is_unchanged_and_a_faint_side_is_raised_to_60_db():
    quiet = [0.05 * np.sin(np.arange(4000)), 0.05 * np.cos(1.3 * np.arange(4000))]
    assert find_gains(quiet, snr_db=0)[0] == 1.0
    gains = find_gains([0.02 * one / 0.05 for one in quiet], snr_db=30)
    assert energy_db(gains[1] * 0.4 * quiet[1]) == pytest.approx(-60, abs=1e-6)
    crest = np.zeros(4000)
    crest[7] = 0.2
    gains = find_gains([crest, quiet[1]], snr_db=60)
    assert gains[0] * 0.2 == pytest.approx(0.9, rel=0.01)


def test_interferers_that_cancel_out_are_an_error():
    wave = np.sin(np.arange(100))
    with pytest.raises(AudioSepError, match="cancel each other out"):
        find_gains([wave, wave, -wave], snr_db=0)


def test_gains_have_nine_digits():
    for gain in find_gains([RNG.standard_normal(50) / 9, RNG.standard_normal(50)], snr_db=1.7)[1:]:
        assert float(f"{gain:.9g}") == gain


def test_a_silent_clip_is_replaced_by_another_of_its_class(tmp_path):
    clips = write_clips(tmp_path)
    write_audio(tmp_path / clips[0].file, np.zeros(2 * RATE), sample_rate_hz=RATE)
    rendered = render_draw(
        Draw(index=4, label="bell", clips=(0, 3), snr_db=3.0),
        clips=clips,
        recipe=recipe(),
        root=tmp_path,
        hear=read_sound_file,
    )
    target, other = rendered.mixture.parts
    assert target.file in ("bell/1.flac", "bell/2.flac")
    assert other.file == clips[3].file
    assert rendered.mixture.caption in next(clip.captions for clip in clips if clip.file == target.file)
    assert set(rendered.sources) == {target.file, other.file}


def test_an_audible_part_is_found_in_a_mostly_silent_clip(tmp_path):
    clips = write_clips(tmp_path)
    waveform = np.r_[np.zeros(2 * RATE), 0.3 * np.sin(np.arange(4 * RATE))]
    write_audio(tmp_path / clips[0].file, waveform, sample_rate_hz=RATE)
    offsets = set()
    for index in range(12):
        rendered = render_draw(
            Draw(index=index, label="bell", clips=(0, 3), snr_db=0.0),
            clips=clips,
            recipe=recipe(),
            root=tmp_path,
            hear=read_sound_file,
        )
        assert rendered.mixture.parts[0].file == clips[0].file
        offsets.add(rendered.mixture.parts[0].offset_seconds)
    assert len(offsets) > 6
    assert all(1.0 <= offset <= 5.0 for offset in offsets)


def test_silence_alone_is_an_error(tmp_path):
    clips = [Clip(file=f"{n}.wav", labels=(str(n),), captions=(str(n),)) for n in range(4)]
    for clip in clips:
        write_audio(tmp_path / clip.file, np.full(RATE, 1e-5), sample_rate_hz=RATE, subtype="FLOAT")
    with pytest.raises(
        AudioSepError, match=r"such as 0\.wav, has an audible segment of 1 s .*give louder clips"
    ):
        render_draw(
            Draw(index=0, label="0", clips=(0, 3), snr_db=3.0),
            clips=clips,
            recipe=recipe(),
            root=tmp_path,
            hear=read_sound_file,
        )


def test_an_snr_that_16_bits_cannot_hold_is_an_error(tmp_path):
    clips = write_clips(tmp_path)
    arguments = {"clips": clips, "root": tmp_path, "hear": read_sound_file}
    far = Draw(index=0, label="tick_tock", clips=(6, 0), snr_db=75.0)
    with pytest.raises(AudioSepError, match=r"reaches .* dB in PCM_16 instead of 75 dB: write FLOAT"):
        render_draw(far, recipe=recipe(), **arguments)
    assert render_draw(far, recipe=recipe(encoding="FLOAT"), **arguments).mixture.reached_db == pytest.approx(
        75, abs=0.01
    )


def test_short_clips_end_in_silence(tmp_path):
    clips = write_clips(tmp_path, seconds=0.5)
    rendered = render_draw(
        Draw(index=0, label="bell", clips=(0, 3), snr_db=0.0),
        clips=clips,
        recipe=recipe(),
        root=tmp_path,
        hear=read_sound_file,
    )
    path = tmp_path / "out.wav"
    path.write_bytes(rendered.files["segment-0.wav"])
    waveform = read_audio(path).waveform[0]
    assert len(waveform) == RATE
    assert waveform[: RATE // 2].any()
    assert not waveform[RATE // 2 :].any()
