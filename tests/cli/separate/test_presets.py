"""What each preset does: the windows that the model gets, the high band, the sentences."""

import io
import sys

import numpy as np
import pytest
import soundfile
from separation_models import RATE, LetterCounts, register

from audiosep_jax.cli.main import main
from audiosep_jax.separation.estimator import Estimator
from audiosep_jax.separation.queries import PARAPHRASES


@pytest.fixture
def heard(ready, monkeypatch):
    """The shapes of the windows that the model gets; it returns half of them."""
    windows = []

    def process(estimator, task):
        def half(rows):
            windows.append(rows.shape)
            return 0.5 * rows[:, None]

        return half, 1

    monkeypatch.setattr(Estimator, "process", process)
    time = np.arange(round(2.5 * 22_050)) / 22_050
    tones = np.sin(2 * np.pi * 1000 * time) + np.sin(2 * np.pi * 7000 * time)
    soundfile.write(ready / "a.wav", 0.3 * np.stack([tones, tones[::-1]], axis=1), 22_050)
    return windows


def tone(sound, frequency, rate=22_050):
    time = np.arange(len(sound)) / rate
    return 2 * abs(np.mean(sound * np.exp(-2j * np.pi * frequency * time)))


def estimate(*arguments):
    assert main(["separate", "a.wav", "--query", "dog", "--again", *arguments]) == 0
    return soundfile.read("separated/a.dog.estimate.wav")[0][:, 0]


def test_standard_takes_channels_alone_and_leaves_the_high_band(heard):
    sound = estimate()
    assert [shape[1] for shape in heard] == [1, 1]
    assert tone(sound, 1000) == pytest.approx(0.15, rel=0.02)
    assert tone(sound, 7000) < 0.002


def test_quality_extends_the_high_band_and_paraphrases(heard, monkeypatch):
    tower = register(monkeypatch, LetterCounts())
    sound = estimate("--preset", "quality")
    assert tone(sound, 7000) > 0.1
    assert tower.encoded == [pattern.replace("…", "dog") for pattern in PARAPHRASES]


def test_fast_takes_all_channels_at_once(heard):
    estimate("--preset", "fast")
    assert [shape[1] for shape in heard] == [2]


def test_options_change_a_preset(heard):
    sound = estimate("--preset", "fast", "--channel-mask", "each", "--high-band", "extend")
    assert [shape[1] for shape in heard] == [1, 1]
    assert tone(sound, 7000) > 0.1


def test_reference_takes_windows_of_five_seconds(heard):
    sound = np.zeros((9 * RATE, 1))
    sound[::100] = 0.5
    soundfile.write("long.wav", sound, RATE)
    for flag in (("--preset", "reference"), ("--upstream-windows",)):
        heard.clear()
        assert main(["separate", "long.wav", "--query", "dog", "--again", *flag]) == 0
        assert [shape[-1] / RATE for shape in heard] == [5, 5, 3]


def test_live_takes_short_windows(heard, monkeypatch):
    file = io.BytesIO()
    soundfile.write(file, np.full((10 * RATE, 1), 0.5), RATE, format="WAV")
    lengths = {}
    for preset in ("live", "standard"):
        heard.clear()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(file.getvalue()))))
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), write_through=True))
        assert main(["separate", "-", "--query", "dog", "--preset", preset]) == 0
        lengths[preset] = heard[0][-1] / RATE
    assert lengths["live"] < 2.6
    assert lengths["standard"] > 9.9
