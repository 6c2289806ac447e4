import struct
import subprocess
import sys

import numpy as np
import pytest
from evals_sounds import RATE, small_set, sound, write_clips

from audiosep_jax.evals import figures
from audiosep_jax.evals.evaluate import evaluate
from audiosep_jax.evals.picked_examples import example_figures, pick
from audiosep_jax.plotting.spectrograms import RANGE_DB, draw_spectrograms, mel_power, spectrogram_figure


def png_size(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


def encode(queries):
    return np.ones((len(queries), 2), np.float32)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    root = tmp_path_factory.mktemp("figures")
    small = small_set(root, write_clips(root))
    result = evaluate(
        small, root=root, apply=lambda m, c: 0.7 * m, encode=encode, model_sample_rate_hz=RATE, model="half"
    )
    return root, small, result


def waveforms(count, seconds=1.0):
    tone, noise = sound("tone", 0, seconds=seconds), sound("noise", 0, seconds=seconds)
    named = {"mixture": tone + noise, "target": tone, "estimate": tone + 0.1 * noise, "residual": 0.9 * noise}
    return dict(list(named.items())[:count])


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (3, (3, 1)), (4, (2, 2))])
def test_spectrograms_have_a_panel_each_and_the_size_for_it(tmp_path, count, shape):
    path = tmp_path / "spectrograms.png"
    spectrogram_figure(waveforms(count), path, sample_rate_hz=RATE, title="“a beep”")
    across, down = shape
    assert png_size(path) == (round(120 * (4.6 * across + 1.0)), round(120 * (3.5 * down + 0.5)))
    assert list(tmp_path.iterdir()) == [path]


def test_all_panels_share_one_labelled_scale():
    figure = draw_spectrograms(waveforms(3), sample_rate_hz=RATE, title="“a beep”")
    panels = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in panels] == ["mixture", "target", "estimate"]
    assert {axis.images[0].get_clim() for axis in panels} == {(-RANGE_DB, 0)}
    assert max(axis.images[0].get_array().max() for axis in panels) == pytest.approx(0)
    assert {axis.get_xlabel() for axis in panels} == {"time (s)"}
    assert panels[0].get_ylabel() == "frequency (kHz)"
    assert [tick.get_text() for tick in panels[0].get_yticklabels()] == ["0", "0.25", "0.5", "1", "2", "4"]
    assert any("dB" in axis.get_ylabel() for axis in figure.axes if not axis.images)


def test_a_sine_lies_where_the_axis_says_and_measures_its_level():
    t = np.arange(2 * RATE) / RATE
    power = mel_power(np.sin(2 * np.pi * 1000 * t), sample_rate_hz=RATE, rows=200)
    middle = power[:, power.shape[1] // 2]
    mel = np.linspace(0, 1127 * np.log1p(4000 / 700), 201)[middle.argmax() + np.array([0, 1])]
    low, high = 700 * np.expm1(mel / 1127)
    assert low - 16 < 1000 < high + 16
    assert 10 * np.log10(middle.max()) == pytest.approx(0, abs=3)
    louder = mel_power(10 * np.sin(2 * np.pi * 1000 * t), sample_rate_hz=RATE, rows=200)
    np.testing.assert_allclose(louder, 100 * power, rtol=1e-6, atol=1e-12)


def test_white_noise_is_flat_over_the_mel_axis():
    noise = np.random.default_rng(0).standard_normal(20 * RATE)
    level = 10 * np.log10(mel_power(noise, sample_rate_hz=RATE, rows=60).mean(1))
    # The lowest and highest bands also hold half of a bin at 0 Hz and at half the rate.
    assert np.ptp(level[2:-2]) < 2


@pytest.mark.parametrize("samples", [1, 100, 5 * RATE, 100 * RATE])
def test_any_length_gives_a_bounded_picture(samples):
    power = mel_power(np.zeros(samples, np.float32), sample_rate_hz=RATE, columns=300)
    assert 1 <= power.shape[1] <= 301
    assert np.isfinite(power).all()


def test_silence_can_be_drawn(tmp_path):
    spectrogram_figure({"silence": np.zeros(RATE)}, tmp_path / "s.png", sample_rate_hz=RATE)
    assert png_size(tmp_path / "s.png") == (672, 480)


def test_result_figures_are_written_whole(evaluated, tmp_path):
    _, _, result = evaluated
    figures.class_figure(result, tmp_path / "classes.png")
    figures.distribution_figure(result, tmp_path / "new" / "distribution.png")
    assert png_size(tmp_path / "classes.png") == (1200, round(150 * (1.6 + 0.42 * 3)))
    assert png_size(tmp_path / "new" / "distribution.png") == (1560, 570)
    figures.class_figure(result, tmp_path / "classes.svg")
    assert "<svg" in (tmp_path / "classes.svg").read_text("utf-8")[:2000]


def test_best_median_and_worst_are_shown(evaluated, tmp_path):
    root, small, result = evaluated
    picked = pick(result)
    ranked = sorted(row.sdri_db for row in result.examples)
    assert [picked[name].sdri_db for name in ("worst", "median", "best")] == [
        ranked[0],
        ranked[(len(ranked) - 1) // 2],
        ranked[-1],
    ]
    shapes = set()

    def apply(mixture, condition):
        shapes.add(mixture.shape)
        return 0.5 * mixture

    paths = example_figures(
        result, tmp_path, evaluation_set=small, root=root, apply=apply, encode=encode, batch_size=4
    )
    names = ["spectrograms-best.png", "spectrograms-median.png", "spectrograms-worst.png"]
    assert sorted(path.name for path in paths) == sorted(path.name for path in tmp_path.iterdir()) == names
    assert shapes == {(4, RATE // 2)}


def test_matplotlib_is_imported_only_to_draw():
    code = (
        "import sys, audiosep_jax.evals.figures, audiosep_jax.evals.report\n"
        "import audiosep_jax.plotting.spectrograms\n"
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("rate", [1, 4, 11, 22, 100])
def test_a_rate_of_some_hertz_has_a_spectrogram_too(rate):
    power = mel_power(np.sin(np.arange(300, dtype=np.float32)), sample_rate_hz=rate)
    assert np.isfinite(power).all()
    assert power.max() > 0
