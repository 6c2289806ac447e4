"""Several queries in one pass: equal to each alone, with shared work, negatives and stems."""

import jax.numpy as jnp
import numpy as np
import pytest
from separation_models import CONDITION_SIZE, RATE, scene

from audiosep_jax import Query
from audiosep_jax.audio.stft import stft
from audiosep_jax.errors import AudioSepError

DRAW = np.random.default_rng(1)
A, B, C = (Query(condition=vector) for vector in DRAW.normal(size=(3, CONDITION_SIZE)))


@pytest.fixture(scope="module")
def mixture():
    """Stereo with samples of 16 bits, so that sums can be exact."""
    return (np.rint(scene(1.3, channels=2) * 2**15) / 2**15).astype(np.float32)


def energy(waveform):
    return np.square(waveform, dtype=np.float64).sum()


def test_each_query_gives_the_same_as_alone(model, mixture):
    together = model.separate_queries(mixture, RATE, queries=[A, B, Query(without=B)])
    for query, each in zip((A, B, Query(without=B)), together, strict=True):
        alone = model.separate(mixture, RATE, query=query)
        np.testing.assert_allclose(each.estimate, alone.estimate, atol=2e-6)
        assert each.presence.level_db == pytest.approx(alone.presence.level_db, abs=1e-3)
        np.testing.assert_array_equal(each.estimate + each.residual, mixture)
    _, positive, negative = together
    np.testing.assert_array_equal(negative.estimate, positive.residual)
    np.testing.assert_array_equal(negative.residual, positive.estimate)
    assert energy(together[0].estimate - positive.estimate) > 0.01 * energy(mixture)


def test_shared_work_is_done_once(model, mixture, monkeypatch):
    transforms, masks = [], []
    for log, name in ((transforms, "_spectrum"), (masks, "_mask")):
        original = getattr(model._estimator, name)
        counted = lambda *given, log=log, original=original: log.append(None) or original(*given)  # noqa: E731
        monkeypatch.setattr(model._estimator, name, counted)
    model.separate_queries(mixture, RATE, queries=[A, B, Query(condition=A.condition, without=[B, C]), A])
    assert len(transforms) == 2  # one per channel
    assert len(masks) == 2 * 3  # A, B and C


def test_a_repeated_negative_counts_once(model, mixture):
    same = Query(condition=B.condition.copy())
    once, twice, but_once, but_twice = model.separate_queries(
        mixture,
        RATE,
        queries=[
            Query(condition=A.condition, without=B),
            Query(condition=A.condition, without=[B, same]),
            Query(without=B),
            Query(without=[B, same, B]),
        ],
    )
    np.testing.assert_array_equal(twice.estimate, once.estimate)
    np.testing.assert_array_equal(but_twice.estimate, but_once.estimate)


@pytest.mark.slow
def test_a_negative_removes_where_it_is_louder(model, mixture):
    plain, other, without, taken = model.separate_queries(
        mixture, RATE, queries=[A, B, Query(condition=A.condition, without=B), Query(without=[B, C])]
    )
    assert energy(without.estimate) < 0.95 * energy(plain.estimate)
    # Per place in time and frequency, the gain p² / (p² + n²) of the two estimates, measured from outside.
    sizes = {"window_length": 256, "hop_length": 80}
    magnitudes = [
        np.hypot(*stft(jnp.asarray(each.estimate[:1]), **sizes))[0] for each in (plain, other, without)
    ]
    positive, negative, kept = (each[5:-5] for each in magnitudes)
    expected = positive**3 / (positive**2 + negative**2 + 1e-12)
    assert energy(kept - expected) < 0.1 * energy(expected)
    np.testing.assert_array_equal(taken.estimate + taken.residual, mixture)
    assert energy(taken.estimate) < energy(mixture)
    assert 0 < energy(taken.residual - other.estimate) < energy(mixture)


@pytest.mark.slow
def test_a_sound_without_itself_is_halved(model, mixture):
    plain, half = model.separate_queries(mixture, RATE, queries=[A, Query(condition=A.condition, without=A)])
    np.testing.assert_allclose(half.estimate, plain.estimate / 2, atol=2e-6)


def test_stems_and_rest_are_the_mixture_bit_for_bit(model, mixture):
    stems = model.separate_stems(mixture, RATE, queries=[A, B, C])
    total = np.zeros_like(mixture)
    for part in (*stems.estimates, stems.rest):
        assert energy(part) > 0
        total = total + part
    np.testing.assert_array_equal(total, mixture)
    assert len(stems.presences) == 3
    alone = model.separate(mixture, RATE, query=A)
    assert energy(stems.estimates[0]) < energy(alone.estimate)
    assert stems.presences[0].level_db == pytest.approx(alone.presence.level_db, abs=1e-3)


@pytest.mark.slow
def test_one_stem_alone_is_its_estimate_and_two_alike_share_it(model, mixture):
    alone = model.separate(mixture, RATE, query=A).estimate
    (only,) = model.separate_stems(mixture, RATE, queries=[A]).estimates
    np.testing.assert_allclose(only, alone, atol=2e-6)
    first, second = model.separate_stems(mixture, RATE, queries=[A, A]).estimates
    np.testing.assert_allclose(first, second, atol=2e-7)
    assert 2 * energy(first) >= 0.49 * energy(alone)


def test_silence_stays_silence_in_every_part(model):
    silence = np.zeros((2, 3000), np.float32)
    stems = model.separate_stems(silence, RATE, queries=[A, B])
    negative = model.separate(silence, RATE, query=A, without=B, channel_mask="shared", high_band="extend")
    for part in (*stems.estimates, stems.rest, negative.estimate, negative.residual):
        assert not part.any()
    assert stems.presences[0].level_db == -np.inf


@pytest.mark.slow
def test_long_sounds_in_windows_equal_single_windows(model):
    # Two windows in flight, 13 s: every query's windows end up in its own estimate.
    waveform = scene(13)[0].astype(np.float32)
    together = model.separate_queries(waveform, RATE, queries=[A, Query(condition=B.condition, without=C)])
    alone = model.separate(waveform, RATE, query=A)
    np.testing.assert_allclose(together[0].estimate, alone.estimate, atol=2e-6)
    negative = model.separate(waveform, RATE, query=B, without=C)
    np.testing.assert_array_equal(together[1].estimate, negative.estimate)


def test_as_many_outputs_as_queries_are_needed(model, tmp_path):
    with pytest.raises(AudioSepError, match="2 queries and 1 outputs"):
        model.separate_file_queries("in.wav", queries=[A, B], outputs=[("a.wav", None)])
    with pytest.raises(AudioSepError, match="2 queries and 1 stems"):
        model.separate_file_stems("in.wav", queries=[A, B], stem_paths=["a.wav"])
