"""Separators and query encoders without weights, or with random ones."""

import functools
import zlib

import jax
import numpy as np

from audiosep_jax.checkpoints import folder
from audiosep_jax.config import ExperimentConfig, ModelConfig, QueryConfig
from audiosep_jax.evals.suites.runner import Model
from audiosep_jax.models import separator

SMALL = ModelConfig(
    sample_rate_hz=16_000, window_length=256, hop_length=128, encoder_widths=(2, 3), condition_size=26
)


class LetterEncoder:
    """The unit vector of how often each letter occurs."""

    condition_size = 26
    fingerprint = "letters"

    def encode(self, texts):
        counts = np.array([[text.lower().count(chr(97 + letter)) for letter in range(26)] for text in texts])
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


def load(source):
    """The function that `load_encoder` calls in a registered module."""
    return LetterEncoder()


def gain(query):
    """A number between 0.5 and 1 that depends on the sentence."""
    return 0.5 + zlib.crc32(query.encode()) % 1000 / 2000


def echo(mixture, query):
    """The estimate of `echo_model` for one mixture."""
    delayed = np.concatenate([[0.0], mixture[:-1]])
    return gain(query) * mixture + 0.3 * (gain(query) - 0.7) * delayed


def echo_model(*, sample_rate_hz, calls=None, step=1000):
    """A separator in NumPy that works on rows of multiples of `step` samples."""

    def apply(mixture, condition, lengths):
        if calls is not None:
            calls.append((mixture.shape, tuple(lengths.tolist())))
        assert mixture.shape[1] % step == 0
        assert (lengths >= 1).all()
        delayed = np.pad(mixture, ((0, 0), (1, 0)))[:, :-1]
        return condition * mixture + np.float32(0.3) * (condition - np.float32(0.7)) * delayed

    return Model(
        apply=apply,
        encode=lambda texts: np.array([[gain(text)] for text in texts], np.float32),
        row_samples=lambda samples: -(-samples // step) * step,
        sample_rate_hz=sample_rate_hz,
    )


def random_checkpoint(path, *, seed=0, name="random-tiny", config=SMALL):
    """Writes a checkpoint folder with random weights, without compiling an initialiser."""
    rng = np.random.default_rng(seed)

    def draw(where, leaf):
        values = rng.normal(0, 0.2, leaf.shape).astype(np.float32)
        return np.exp(values) if "var" in jax.tree_util.keystr(where) else values

    shapes = jax.eval_shape(functools.partial(separator.init, config), jax.random.key(0))
    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    folder.save(
        path, ExperimentConfig(name=name, model=config, query=QueryConfig(encoder="letters")), variables
    )
    return path
