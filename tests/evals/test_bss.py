"""BSSEval and zero-mean SI-SDR against least squares, and against each other."""

import subprocess
import sys

import numpy as np
import pytest

from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals import bss, metrics

RNG = np.random.default_rng(0)
TARGET, INTERFERENCE, ARTEFACT = RNG.standard_normal((3, 2000))
FILTER = np.array([0.0, 0.8, 0.0, -0.3, 0.2])
ESTIMATE = np.convolve(TARGET, FILTER)[:2000] + 0.2 * INTERFERENCE + 0.05 * ARTEFACT


def shifts(waveform, taps):
    """`[samples + taps - 1, taps]`: the waveform under every delay, as BSSEval pads it."""
    columns = [np.r_[np.zeros(k), waveform, np.zeros(taps - 1 - k)] for k in range(taps)]
    return np.stack(columns, axis=1)


def projected(basis, waveform):
    return basis @ np.linalg.lstsq(basis, waveform, rcond=None)[0]


def ratio_db(signal, noise):
    return 10 * np.log10(np.sum(signal**2) / np.sum(noise**2))


@pytest.mark.extras
@pytest.mark.parametrize("taps", [8, 64])
def test_bss_eval_is_its_definition(taps):
    estimate = np.r_[ESTIMATE, np.zeros(taps - 1)]
    allowed = projected(shifts(TARGET, taps), estimate)
    both = projected(np.hstack([shifts(TARGET, taps), shifts(INTERFERENCE, taps)]), estimate)
    got = bss.bss_eval(TARGET, INTERFERENCE, ESTIMATE, filter_taps=taps)
    assert got.sdr_db == pytest.approx(ratio_db(allowed, estimate - allowed), abs=1e-6)
    assert got.sir_db == pytest.approx(ratio_db(allowed, both - allowed), abs=1e-6)
    assert got.sar_db == pytest.approx(ratio_db(both, estimate - both), abs=1e-6)
    assert bss.filtered_sdr_db(TARGET, ESTIMATE, filter_taps=taps) == pytest.approx(got.sdr_db, abs=1e-9)


@pytest.mark.extras
def test_the_target_keeps_its_row_where_the_interference_is_louder():
    values = bss.bss_eval(TARGET, INTERFERENCE, 0.1 * TARGET + INTERFERENCE, filter_taps=8)
    assert values.sdr_db < -15
    assert values.sir_db < -15


@pytest.mark.extras
def test_the_four_meanings_differ_as_they_say():
    delayed = np.r_[0.0, TARGET[:-1]]
    assert bss.filtered_sdr_db(TARGET, delayed) > 30  # a filter undoes the delay …
    assert metrics.sdr_db(TARGET, delayed) < 0  # … which plain SDR and SI-SDR take for noise
    assert metrics.si_sdr_db(TARGET, delayed) < 0
    louder = 2 * TARGET
    assert metrics.si_sdr_db(TARGET, louder) > 60
    assert metrics.sdr_db(TARGET, louder) == pytest.approx(0.0, abs=1e-9)
    offset = TARGET + 1.0
    assert bss.si_sdr_zero_mean_db(TARGET, offset) > 60
    assert metrics.si_sdr_db(TARGET, offset) < 1


@pytest.mark.extras
def test_si_sdr_without_the_mean_is_its_formula():
    target, estimate = (one - one.mean() for one in (TARGET + 0.3, ESTIMATE - 0.2))
    scaled = target * (target @ estimate) / (target @ target)
    got = bss.si_sdr_zero_mean_db(TARGET + 0.3, ESTIMATE - 0.2)
    assert got == pytest.approx(ratio_db(scaled, estimate - scaled), abs=1e-9)


@pytest.mark.extras
def test_the_truth_is_limited_to_100_db():
    assert bss.bss_eval(TARGET, INTERFERENCE, TARGET, filter_taps=8).sdr_db == pytest.approx(100, abs=1)
    assert bss.si_sdr_zero_mean_db(TARGET, TARGET) == pytest.approx(100, abs=1)


@pytest.mark.parametrize("silent", ["target", "interference", "estimate"])
def test_silence_is_an_error_that_says_whose(silent):
    waveforms = {"target": TARGET, "interference": INTERFERENCE, "estimate": ESTIMATE}
    with pytest.raises(AudioSepError, match=f"the {silent} is silent"):
        bss.bss_eval(**{**waveforms, silent: np.zeros(2000)})


def test_the_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_bss_eval", None)
    with pytest.raises(
        AudioSepError, match=r"fast-bss-eval, which .*, is not installed: .*audiosep_jax\[benchmark\]"
    ):
        bss.filtered_sdr_db(TARGET, ESTIMATE)


@pytest.mark.extras
def test_pytorch_is_not_imported_where_it_is_installed(tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('imported')")
    code = (
        "import sys, numpy as np\n"
        "from audiosep_jax.evals import bss\n"
        "x = np.random.default_rng(0).standard_normal(600)\n"
        "print(bss.si_sdr_zero_mean_db(x, x + 1) > 60, 'torch' in sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)}
    )
    assert run.stdout.split() == ["True", "False"], run.stderr
