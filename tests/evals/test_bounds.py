import numpy as np
import pytest
from evals_sounds import RATE, small_set, write_clips

from audiosep_jax.audio.writing import write_audio
from audiosep_jax.evals import metrics
from audiosep_jax.evals.bounds import ideal_estimate, low_passed, measure_bounds
from audiosep_jax.evals.evaluation_set import Entry, EvaluationSet, Source, render_entries

SHAPE = {"window_length": 256, "hop_length": 64}


def sine(frequency_hz, *, seconds=1.0):
    return (0.3 * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * RATE)) / RATE)).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def low_and_high(tmp_path_factory):
    """Mixtures of a low target and a high interferer, both ways round, with one absent query."""
    root = tmp_path_factory.mktemp("bounds")
    for name, frequency in [("low", 400.0), ("lower", 300.0), ("high", 2000.0)]:
        write_audio(root / f"{name}.wav", sine(frequency), sample_rate_hz=RATE, subtype="FLOAT")

    def entry(target, interferer, absent=""):
        return Entry(
            target=Source(file=target, label=target),
            interferer=Source(file=interferer, label=interferer),
            caption=target,
            absent_caption=absent,
        )

    entries = (
        entry("low", "high"),
        entry("lower", "high"),
        entry("high", "low"),
        entry("low", "high", "rain"),
    )
    kinds = {"low": "bass", "lower": "bass", "high": "treble"}
    made = EvaluationSet(name="tones", sample_rate_hz=RATE, seconds=1.0, seed=0, kinds=kinds, entries=entries)
    return root, made


def bounds_of(root, made, **changes):
    return measure_bounds(
        made, root=root, **({"model_sample_rate_hz": RATE, "batch_size": 3, **SHAPE} | changes)
    )


def test_masks_of_sounds_in_other_bands_recover_them(low_and_high):
    low_pass, half, ratio, phase = bounds_of(*low_and_high)
    assert [one.model for one in (half, ratio, phase)] == ["half", "ratio mask", "phase-sensitive mask"]
    for ceiling in (ratio, phase):
        assert min(row.sdri_db for row in ceiling.examples) > 35
        assert not ceiling.absent
        assert ceiling.absent_attenuation_db is None
    assert low_pass.model.startswith("low-pass ")
    # The filter lets a low target through as it is, and nothing of a high one.
    assert low_pass.examples[0].sdr_db > 60
    assert low_pass.examples[2].sdr_db == pytest.approx(-10 * np.log10(2), abs=0.01)
    assert low_pass.absent_attenuation_db.mean == pytest.approx(10 * np.log10(2), abs=0.01)


def test_half_of_the_mixture_has_a_known_value(low_and_high):
    half = bounds_of(*low_and_high)[1]
    for row in half.examples:  # the error is (interferer - target) / 2, half as much energy as the target
        assert row.sdr_db == pytest.approx(10 * np.log10(2), abs=0.01)
        assert row.si_sdri_db == pytest.approx(0, abs=1e-6)
    assert half.overall.sdri_db.mean == pytest.approx(3.0103, abs=0.01)
    assert half.absent_attenuation_db.mean == pytest.approx(20 * np.log10(2), abs=1e-6)
    assert [(kind.label, kind.count) for kind in half.kinds] == [("bass", 2), ("treble", 1)]


def test_the_cutoff_is_that_of_the_highest_mean_sdr(low_and_high):
    root, made = low_and_high
    low_pass = bounds_of(root, made)[0]
    mixture, target = render_entries(made, made.entries[:3], root=root)
    for cutoff_hz in (100.0, 350.0, 1000.0, 3000.0):
        other = metrics.sdr_db(target, low_passed(mixture, cutoff_hz=cutoff_hz, sample_rate_hz=RATE))
        assert low_pass.overall.sdr_db.mean >= other.mean() - 1e-6


def test_a_model_of_half_the_rate_bounds_what_it_can_reach(low_and_high, tmp_path):
    _, made = low_and_high
    write_audio(tmp_path / "high.wav", sine(3000), sample_rate_hz=RATE, subtype="FLOAT")
    write_audio(tmp_path / "low.wav", sine(400), sample_rate_hz=RATE, subtype="FLOAT")
    write_audio(tmp_path / "lower.wav", sine(300), sample_rate_hz=RATE, subtype="FLOAT")
    phase = bounds_of(tmp_path, made, model_sample_rate_hz=RATE // 2, window_length=128, hop_length=32)[3]
    assert phase.examples[0].sdri_db > 20
    # 3 kHz lie above the model's Nyquist frequency.
    assert phase.examples[2].sdr_db == pytest.approx(0, abs=0.1)
    assert (phase.sample_rate_hz, phase.model_sample_rate_hz) == (RATE, RATE // 2)


def test_masks_of_known_spectra():
    rng = np.random.default_rng(0)
    target = rng.standard_normal((2, 2048)).astype(np.float32)
    for mask, gain in [("ratio", 0.75), ("phase-sensitive", 0.75)]:
        # The interferer is a third of the target, so each bin of the mixture has 3/4 of it.
        estimate = ideal_estimate(target * np.float32(4 / 3), target, mask=mask, **SHAPE)
        np.testing.assert_allclose(estimate, target * (gain * 4 / 3), atol=1e-4)
        # An interferer that cancels half of the target: the phase-sensitive mask ends at 1.
        estimate = ideal_estimate(target * np.float32(0.5), target, mask=mask, **SHAPE)
        scale = 0.5 if mask == "phase-sensitive" else 0.5 * (2 / 3)
        np.testing.assert_allclose(estimate, scale * target, atol=1e-4)


def test_the_phase_sensitive_mask_is_the_better_one_and_batches_change_nothing(tmp_path):
    made = small_set(tmp_path, write_clips(tmp_path))
    results = [bounds_of(tmp_path, made, batch_size=size) for size in (2, 5)]
    for one, other in zip(*results, strict=True):
        assert [row.index for row in one.examples] == [row.index for row in other.examples]
        np.testing.assert_allclose(
            [row.sdri_db for row in one.examples], [row.sdri_db for row in other.examples], atol=1e-3
        )
    _, _, ratio, phase = results[0]
    assert phase.overall.sdri_db.mean > ratio.overall.sdri_db.mean
