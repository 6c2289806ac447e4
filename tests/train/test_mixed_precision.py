"""bfloat16 trains as float32 does: the tiny model on real recordings, the same seeds and draws."""

import dataclasses
import json

import numpy as np
import pytest

import audiosep_jax
from audiosep_jax.config import DataConfig, ExecutionConfig, OptimizerConfig, QueryConfig
from audiosep_jax.train.loop import train
from data_pipelines.corpora.audio_folder import AudioFolder
from data_pipelines.prepare.build import prepare
from experiments import tiny

STEPS, WINDOW = 300, 25


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """The bundled recordings, with their captions."""
    folder = tmp_path_factory.mktemp("clips")
    source = next(iter(audiosep_jax.__path__)) + "/assets/demo"
    prepare(
        lambda work: AudioFolder(
            source=source, data_dir=work, sample_rate_hz=tiny.CONFIG.model.sample_rate_hz
        ),
        folder / "dataset",
    )
    return folder / "dataset"


@pytest.mark.slow
@pytest.mark.usefixtures("letters")
@pytest.mark.timeout(3000)
def test_the_loss_follows_that_of_float32(clips, tmp_path):
    """Means of 25 steps within 2 % over 300 steps, in both layouts of the layers."""
    curves = {}
    executions = {
        "float32": ExecutionConfig(lanes=0),
        "bfloat16": ExecutionConfig(compute="bfloat16", remat="activations", lanes=0),
        "packed": ExecutionConfig(compute="bfloat16", remat="activations", lanes=32),
    }
    for name, execution in executions.items():
        config = dataclasses.replace(
            tiny.CONFIG,
            model=dataclasses.replace(tiny.CONFIG.model, condition_size=26),
            query=QueryConfig(encoder="letters"),
            mixture=dataclasses.replace(tiny.CONFIG.mixture, segment_seconds=1.0),
            data=DataConfig(datasets=(str(clips),), read_threads=1),
            optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=50, warmup_factors=(0.1,)),
            execution=execution,
            train=dataclasses.replace(
                tiny.CONFIG.train,
                steps=STEPS,
                batch_size=4,
                loss="l1",
                log_every=1,
                evaluate_every=0,
                save_every=STEPS,
            ),
        )
        train(config, tmp_path / name)
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        losses = np.array([line["loss"] for line in lines if "loss" in line])
        assert losses.shape == (STEPS,)
        curves[name] = losses.reshape(-1, WINDOW).mean(axis=1)
    wanted = curves.pop("float32")
    # It learns, by several times what is allowed: two curves that stand still would show nothing.
    assert wanted[-4:].mean() < 0.9 * wanted[:2].mean()
    for name, curve in curves.items():
        deviation = curve / wanted - 1
        print(name, "largest deviation", np.abs(deviation).max(), "mean", deviation.mean())
        assert np.any(deviation != 0)
        assert np.abs(deviation).max() < 0.02, name
