"""Small clips, and corpora rendered from them."""

import hashlib

import numpy as np

from audiosep_jax.audio.reading import read_audio
from audiosep_jax.audio.writing import write_audio
from data_pipelines.render.corpus import render_corpus
from data_pipelines.render.recipe import Clip, Recipe

RATE = 8000
LABELS = ("bell", "hiss", "tick_tock")


def sound(label, seed, *, seconds=1.5, rate=RATE):
    rng = np.random.default_rng([LABELS.index(label), seed])
    t = np.arange(round(seconds * rate)) / rate
    if label == "bell":
        return 0.4 * np.sin(2 * np.pi * (300 + 90 * seed) * t) * np.exp(-t)
    if label == "hiss":
        return 0.1 * rng.standard_normal(len(t))
    return 0.9 * (np.modf(t * (5 + seed))[0] < 0.03)


def write_clips(root, *, per_label=3, **more):
    """Writes clips of three classes, one of them a stereo file of another rate."""
    clips = []
    for label in LABELS:
        for seed in range(per_label):
            file = f"{label}/{seed}.flac"
            (root / label).mkdir(parents=True, exist_ok=True)
            stereo = label == "hiss" and seed == 0
            waveform = sound(label, seed, rate=11_025 if stereo else RATE, **more)
            write_audio(
                root / file,
                np.stack([waveform, 0.5 * waveform]) if stereo else waveform,
                sample_rate_hz=11_025 if stereo else RATE,
            )
            captions = (f"a {label} {seed}", f"sound {seed} of a {label}")
            clips.append(Clip(file=file, labels=(label,), captions=captions, recording=f"{label}{seed}"))
    return clips


def recipe(**changes):
    values = {"per_class": 3, "snrs_db": (-7.5, 0.0, 12.0), "seconds": 1.0, "sample_rate_hz": RATE}
    return Recipe(**(values | changes))


def render(clips, root, out, *, name="small", workers=1, progress=None, **changes):
    return render_corpus(
        clips, recipe(**changes), name=name, root=root, out=out, workers=workers, progress=progress
    )


def content(folder):
    """Returns the SHA-256 of every file of a folder, by name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def snr_db(folder, index):
    """Returns the SNR of a mixture, measured from its two files."""
    target, mixture = (
        read_audio(folder / f"{kind}-{index}.wav").waveform[0].astype(np.float64)
        for kind in ("segment", "mixture")
    )
    return 10 * np.log10(np.sum(target**2) / np.sum((mixture - target) ** 2))
