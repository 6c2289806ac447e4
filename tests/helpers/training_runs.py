"""Small whole runs: sounds, a dataset, an experiment file, and query encoders without weights."""

import csv
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import soundfile
from PIL import Image

from audiosep_jax.audio.stft import stft
from audiosep_jax.config import (
    DataConfig,
    ExperimentConfig,
    MixtureConfig,
    ModelConfig,
    OptimizerConfig,
    QueryConfig,
    TrainConfig,
)
from audiosep_jax.utils.serialization import to_dict

RATE = 8000
LETTERS = "abcdefghijklmnopqrstuvwxyz"
CAPTIONS = {"low": "a low tone", "high": "a high whistle", "noise": "hissing"}


class LetterEncoder:
    """A query encoder without weights: the unit vector of how often each letter occurs."""

    condition_size = len(LETTERS)
    fingerprint = "letters"

    def encode(self, texts):
        counts = np.array([[text.count(letter) for letter in LETTERS] for text in texts])
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


class HearingLetters(LetterEncoder):
    """Also encodes sound: the loudness in as many bands as there are letters, computed on the device."""

    fingerprint = "hearing letters"
    rates: ClassVar = set()
    threads: ClassVar = set()

    def encode_audio(self, waveforms, *, sample_rate_hz):
        self.rates.add(sample_rate_hz)
        self.threads.add(threading.get_ident())
        assert jax.sharding.get_abstract_mesh().empty
        # No transfer is implied, so that a guard of the caller's would not find one.
        with jax.transfer_guard("disallow"):
            return jax.device_get(loudness_of_bands(jax.device_put(np.stack(waveforms))))


@jax.jit
def loudness_of_bands(waveforms):
    real, imag = stft(waveforms, window_length=104, hop_length=52)
    power = jnp.mean(real**2 + imag**2, axis=1)[:, :52].reshape(len(waveforms), len(LETTERS), 2)
    bands = jnp.log1p(1e3 * power.sum(axis=-1))
    return bands / jnp.linalg.norm(bands, axis=1, keepdims=True)


class SeeingLetters(LetterEncoder):
    """Also encodes images: a unit vector from the amounts of red, green and blue."""

    fingerprint = "seeing letters"
    images = 0

    def encode_images(self, images):
        type(self).images += len(images)
        colours = np.stack([image.reshape(-1, 3).mean(axis=0) for image in images]) + 1
        rows = np.pad(colours, ((0, 0), (0, len(LETTERS) - 3)))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def load(source):
    """Called by `load_encoder` for a registered module."""
    return {"": LetterEncoder, "hear": HearingLetters, "see": SeeingLetters}[source]()


def sound(label, seed):
    rng = np.random.default_rng(seed)
    time = np.arange(RATE) / RATE
    if label == "noise":
        return 0.1 * rng.standard_normal(RATE)
    frequency = rng.uniform(150, 300) if label == "low" else rng.uniform(2000, 3000)
    return 0.2 * np.sin(2 * np.pi * frequency * time)


def write_dataset(root: Path, *, frames: bool = False, undescribed: tuple[str, ...] = ()) -> Path:
    """Prepares nine clips of one second, three per caption.

    Args:
      root: gets the folders `source` and `dataset`.
      frames: give each clip two frames of its label's colour.
      undescribed: labels whose clips get neither caption nor label.
    """
    from data_pipelines.corpora.audio_folder import AudioFolder
    from data_pipelines.prepare.build import prepare

    source = root / "source"
    source.mkdir()
    rows = []
    for label, caption in CAPTIONS.items():
        for seed in range(3):
            name = f"{label}{seed}.wav"
            soundfile.write(source / name, sound(label, seed), RATE)
            described = label not in undescribed
            rows.append({"file": name, "captions": caption * described, "label": label * described})
            if frames:
                for number in range(2):
                    colour = tuple(
                        np.roll([200, 20 * seed, 10 * number], list(CAPTIONS).index(label)).tolist()
                    )
                    Image.new("RGB", (8, 6 + number), colour).save(source / f"{label}{seed}-{number}.png")
                rows[-1]["frames"] = f"{label}{seed}-*.png"
    with (source / "clips.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    prepare(lambda work: AudioFolder(source=source, data_dir=work, sample_rate_hz=RATE), root / "dataset")
    return root / "dataset"


def experiment(dataset: Path, **train) -> ExperimentConfig:
    """A model that compiles in seconds, on that dataset."""
    options = {
        "steps": 60,
        "batch_size": 4,
        "loss": "snr",
        "log_every": 1,
        "save_every": 13,
        "evaluate_every": 0,
        "validation_mixtures": 2,
        "audio_examples": 1,
    }
    return ExperimentConfig(
        name="small",
        model=ModelConfig(
            sample_rate_hz=RATE,
            window_length=64,
            hop_length=32,
            encoder_widths=(4, 4),
            condition_size=len(LETTERS),
            film="scale_shift",
            magnitude_power=0.3,
            unused_tensors=False,
        ),
        query=QueryConfig(encoder="letters"),
        mixture=MixtureConfig(segment_seconds=0.25, gain_range_db=(-3, 3)),
        data=DataConfig(datasets=(str(dataset),), read_threads=2, prefetch=3),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=3, warmup_factors=(0.1,)),
        train=TrainConfig(**(options | train)),
    )


def write_experiment(path: Path, config: ExperimentConfig) -> Path:
    """Writes an experiment file that registers its encoder."""
    path.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from audiosep_jax.config import ExperimentConfig\n"
        "from audiosep_jax.utils.serialization import from_dict\n"
        "from audiosep_jax.encoders import base\n"
        "base.ENCODERS['letters'] = 'training_runs'\n"
        f"CONFIG = from_dict(ExperimentConfig, {to_dict(config)!r})\n",
        "utf-8",
    )
    return path


def start(experiment_file: Path, workdir: Path, *, cache: Path) -> subprocess.Popen:
    """Starts `audiosep train` in a separate process; `cache` keeps compiled programs between processes."""
    settings = {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    # Like the installed command; a shell that runs the tests in the background would have SIGINT ignored.
    program = (
        "import signal, sys; from audiosep_jax.cli.main import main;"
        "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, "train", str(experiment_file), "--workdir", str(workdir)],
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
