"""A small separator with random weights, made without compiling anything."""

import sys
import types
from pathlib import Path

import jax
import numpy as np

from audiosep_jax.config import ExperimentConfig, ModelConfig, QueryConfig
from audiosep_jax.encoders import base
from audiosep_jax.models import separator
from audiosep_jax.separation.api import AudioSep

RATE = 8000
CONDITION_SIZE = 16


def random_model(*, condition_size=CONDITION_SIZE) -> AudioSep:
    model = ModelConfig(
        sample_rate_hz=RATE,
        window_length=256,
        hop_length=80,
        encoder_widths=(4, 4),
        condition_size=condition_size,
    )
    config = ExperimentConfig(name="random", model=model, query=QueryConfig(encoder="letters"))
    draw = np.random.default_rng(0)

    def weights(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            return np.ones(leaf.shape, np.float32)
        if name == "mean" or leaf.ndim < 2:
            return np.zeros(leaf.shape, np.float32)
        return (draw.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]))).astype(np.float32)

    return AudioSep(config, jax.tree_util.tree_map_with_path(weights, separator.shapes(model)))


class LetterCounts:
    """A query encoder for tests: counts letters."""

    condition_size = CONDITION_SIZE
    fingerprint = "letters"

    def __init__(self):
        self.encoded = []

    def encode(self, texts):
        self.encoded += texts
        return np.float32([[text.count(chr(97 + i)) for i in range(CONDITION_SIZE)] for text in texts])


class Senses(LetterCounts):
    """A query encoder of sounds and images for tests: bands of the spectrum, rows of a picture."""

    fingerprint = "senses"

    def __init__(self):
        super().__init__()
        self.heard, self.seen = [], []

    def encode_audio(self, waveforms, *, sample_rate_hz):
        self.heard += [(waveform, sample_rate_hz) for waveform in waveforms]
        bands = [np.array_split(np.abs(np.fft.rfft(each)), CONDITION_SIZE) for each in waveforms]
        return unit([[band.sum() for band in row] for row in bands])

    def encode_images(self, images):
        self.seen += images
        rows = [np.array_split(each.astype(np.float64), CONDITION_SIZE) for each in images]
        return unit([[1 + row.sum() for row in picture] for picture in rows])


def unit(rows):
    rows = np.asarray(rows)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def register(monkeypatch, tower: LetterCounts) -> LetterCounts:
    module = types.ModuleType("letter_counts")
    module.load = lambda source: tower
    monkeypatch.setitem(sys.modules, "letter_counts", module)
    monkeypatch.setitem(base.ENCODERS, "letters", "letter_counts")
    return tower


def halved(estimator, task):
    """Replaces the model: returns half of its input, without a compiler."""
    outputs = len(task.estimates) * (1 if task.plain else 2)
    return lambda windows: np.repeat(0.5 * windows[:, None], outputs, axis=1), outputs


def scene(seconds, *, rate=RATE, channels=1, seed=0):
    """Noise, tones that come and go, and a pause: [channels, samples] float64 within ±0.9."""
    time = np.arange(round(seconds * rate)) / rate
    draw = np.random.default_rng(seed)
    rows = [
        0.1 * draw.normal(size=len(time))
        + 0.4 * np.sin(2 * np.pi * (300 + 50 * row) * time) * (np.sin(2 * np.pi * time / 1.7) > 0)
        for row in range(channels)
    ]
    return np.clip(rows, -0.9, 0.9)


def scene_file(path: Path, seconds, *, rate=RATE, channels=1, subtype="PCM_16") -> Path:
    import soundfile

    soundfile.write(path, scene(seconds, rate=rate, channels=channels).T, rate, subtype=subtype)
    return path
