"""Files with names or levels that libsndfile or python-soundfile misreads."""

import numpy as np
import pytest

from audiosep_jax.audio.reading import decode_audio, read_audio
from audiosep_jax.audio.writing import write_audio
from audiosep_jax.errors import AudioSepError
from audiosep_jax.separation.checks import checked_waveform


@pytest.mark.parametrize("suffix", [".au", ".snd", ".gsm", ".vox", ".raw"])
def test_a_text_is_refused_whatever_its_suffix(tmp_path, suffix):
    path = tmp_path / f"notes{suffix}"
    path.write_bytes(b"a dog barks, written down " * 20)
    with pytest.raises(AudioSepError, match="is not a sound file"):
        read_audio(path)


def test_a_name_that_is_not_text_can_be_written_and_read(tmp_path):
    path = tmp_path / "not \udcff text.flac"
    write_audio(path, np.full((2, 100), 0.25), sample_rate_hz=8000)
    np.testing.assert_array_equal(read_audio(path).waveform, np.full((2, 100), np.float32(0.25)))


def test_samples_whose_squares_overflow_are_refused(tmp_path):
    path = tmp_path / "loud.wav"
    for level, fits in ((9e8, True), (1e30, False)):
        sound = np.full((1, 100), level, np.float32)
        write_audio(path, sound, sample_rate_hz=8000, subtype="FLOAT")
        if fits:
            np.testing.assert_array_equal(read_audio(path).waveform, sound)
            np.testing.assert_array_equal(checked_waveform(sound), sound)
            continue
        with pytest.raises(AudioSepError, match=r"holds samples of 1e\+30, where full scale is 1"):
            read_audio(path)
        with pytest.raises(AudioSepError, match=r"holds samples of 1e\+30, where full scale is 1"):
            checked_waveform(sound)
    assert decode_audio(path.read_bytes()).waveform.shape == (1, 100)
