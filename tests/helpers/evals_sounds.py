"""Small generated clips for the tests of this folder."""

import numpy as np

from audiosep_jax.audio.writing import write_audio
from audiosep_jax.evals.evaluation_set_builder import Clip, make_evaluation_set

RATE = 8000
CAPTIONS = {
    "tone": ("a steady tone", "a beep"),
    "noise": ("hissing noise",),
    "pulse": ("a ticking pulse", "clicks", "a metronome"),
}


def sound(kind, seed, *, seconds=1.0, rate=RATE):
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    if kind == "tone":
        return (0.3 * np.sin(2 * np.pi * (300 + 100 * seed) * t)).astype(np.float32)
    if kind == "noise":
        return (0.1 * rng.standard_normal(len(t))).astype(np.float32)
    return (0.8 * (np.modf(t * (4 + seed))[0] < 0.02)).astype(np.float32)


def write_clips(root, *, per_label=3, seconds=1.0, rate=RATE):
    """Writes `per_label` FLAC files for each label and returns the clips."""
    clips = []
    for label in CAPTIONS:
        (root / label).mkdir(parents=True, exist_ok=True)
        for seed in range(per_label):
            clip = Clip(file=f"{label}/{seed}.flac", label=label)
            write_audio(root / clip.file, sound(label, seed, seconds=seconds, rate=rate), sample_rate_hz=rate)
            clips.append(clip)
    return clips


def small_set(root, clips, **changes):
    values = {
        "name": "small",
        "root": root,
        "captions": CAPTIONS,
        "per_class": 4,
        "absent_per_class": 2,
        "seconds": 0.5,
        "sample_rate_hz": RATE,
    }
    return make_evaluation_set(clips, **(values | changes))


class LetterEncoder:
    """A query encoder without weights: the unit vector of how often each letter occurs."""

    condition_size = 26
    fingerprint = "letters"

    def encode(self, texts):
        counts = np.array([[text.lower().count(chr(97 + letter)) for letter in range(26)] for text in texts])
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


def load(source):
    """The function that `load_encoder` calls in a registered module."""
    return LetterEncoder()
