"""CLAPScore, CLAPScore-i and RefCLAPScore by hand, and with a small CLAP."""

import clap_folders
import numpy as np
import pytest

from audiosep_jax.encoders.clap import encoder as clap
from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals.clap_score import cosines, harmonic_mean, measure_clap_scores

TEXTS = {"east": [3.0, 0.0], "north": [0.0, 0.5]}


class Ear:
    """A tower of two dimensions: a sound's embedding is its first two samples."""

    def __init__(self):
        self.read = []

    def encode_audio(self, waveforms, *, sample_rate_hz):
        assert sample_rate_hz == 8000
        return np.array([one[:2] for one in waveforms], np.float32)

    def encode_text(self, texts):
        self.read.append(list(texts))
        return np.array([TEXTS[text] for text in texts], np.float32)


def measured(ear, **more):
    return measure_clap_scores(
        [np.array([2.0, 0.0, 9.0]), np.array([1.0, 1.0]), np.array([-1.0, 0.0])],
        ["east", "north", "east"],
        sample_rate_hz=8000,
        encode_audio=ear.encode_audio,
        encode_text=ear.encode_text,
        **more,
    )


def test_the_score_is_the_cosine_and_equal_queries_are_read_once():
    ear = Ear()
    scores = measured(ear)
    np.testing.assert_allclose(scores.clap_score, [1, np.sqrt(0.5), -1], atol=1e-7)
    assert ear.read == [["east", "north"]]
    assert scores.clap_score_i is scores.ref_clap_score is scores.audio_similarity is None


def test_the_improvement_is_over_the_mixture():
    mixtures = [np.array([1.0, 1.0]), np.array([1.0, 0.0]), np.array([-2.0, 0.0])]
    scores = measured(Ear(), mixtures=mixtures)
    np.testing.assert_allclose(scores.clap_score_i, [1 - np.sqrt(0.5), np.sqrt(0.5), 0], atol=1e-7)


def test_the_score_with_a_reference_is_the_harmonic_mean():
    targets = [np.array([1.0, 1.0]), np.array([0.0, 1.0]), np.array([-1.0, 0.0])]
    scores = measured(Ear(), targets=targets)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(scores.audio_similarity, [half, half, 1], atol=1e-7)
    np.testing.assert_allclose(scores.ref_clap_score, [2 * half / (1 + half), half, 0], atol=1e-7)


def test_cosines_below_zero_count_as_zero_in_the_harmonic_mean():
    assert harmonic_mean(np.array([-0.5, 0.0, 1.0]), np.array([1.0, 0.0, 1.0])).tolist() == [0, 0, 1]


def test_an_embedding_without_direction_is_an_error():
    for broken in (np.zeros((1, 2)), np.full((1, 2), np.nan)):
        with pytest.raises(AudioSepError, match="zero or not finite"):
            cosines(broken, np.ones((1, 2)))


def test_a_target_per_estimate_is_needed():
    with pytest.raises(ValueError, match="one query, target and mixture per estimate"):
        measured(Ear(), targets=[np.ones(2)])


@pytest.mark.slow
def test_the_projects_clap_hears_and_reads(tmp_path):
    encoder = clap.load(str(clap_folders.write_transformers(tmp_path / "clap", "a")))
    waveforms, rate_hz = clap_folders.sounds("a")
    queries = ["a dog", "rain", "a dog"][: len(waveforms)]
    scores = measure_clap_scores(
        waveforms,
        queries,
        sample_rate_hz=rate_hz,
        encode_audio=encoder.encode_audio,
        encode_text=encoder.encode,
        targets=waveforms,
    )
    # What transformers computed for these sounds.
    heard = clap_folders.record("a")["heard"]
    want = cosines(heard, encoder.encode(queries))
    np.testing.assert_allclose(scores.clap_score, want, atol=1e-4)
    np.testing.assert_allclose(scores.audio_similarity, 1, atol=1e-6)
