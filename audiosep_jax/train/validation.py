"""SDRi on fixed mixtures of the held-out clips, while a model trains."""

import dataclasses
import functools

import jax
import numpy as np
from jax.sharding import Mesh

from audiosep_jax.audio.mixing import mix
from audiosep_jax.config import ExperimentConfig, MixtureConfig
from audiosep_jax.evals.measure import Measurements, filled, measure_arrays
from audiosep_jax.models import separator
from audiosep_jax.plotting.spectrograms import draw_spectrograms
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train.writers import MetricWriter
from data_pipelines.mixtures.conditions import Conditions
from data_pipelines.mixtures.pipeline import MixturePipeline
from data_pipelines.mixtures.supervision import Supervision

_SECONDS = 5.0
_BATCH = 8


class Validation:
    """Measures the same mixtures at every call: two clips at 0 dB, 5 s.

    The devices of all processes share the work. Every process gets and measures all estimates, so that all
    have the same numbers. `data.validation` names the clips; `supervision` computes the conditions of clips
    without a caption, and no others.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        mesh: Mesh,
        conditions: Conditions,
        supervision: Supervision = Supervision(),
    ) -> None:
        self._model = config.model
        self._audio_examples = min(config.train.audio_examples, config.train.validation_mixtures)
        pipeline = MixturePipeline(
            dataclasses.replace(config.data, datasets=config.data.validation, weights=(), seed=0),
            MixtureConfig(gain_range_db=(0, 0), segment_seconds=_SECONDS),
            sample_rate_hz=config.model.sample_rate_hz,
            batch_size=config.train.validation_mixtures,
            conditions=conditions,
            supervision=dataclasses.replace(supervision, text_ratio=1.0),
        )
        batch = next(iter(pipeline.batches(stop_step=1)))
        mixture, target = jax.jit(mix)(jax.device_put(batch.segments), jax.device_put(batch.gains_db))
        self._mixture, self._target = np.asarray(mixture), np.asarray(target)
        self._condition = batch.condition
        self._titles = [caption or ids[0] for caption, ids in zip(batch.captions, batch.ids, strict=True)]
        self._split, everywhere = meshes.batch_sharding(mesh), meshes.replicated(mesh)
        self._batch_size = -(-_BATCH // mesh.size) * mesh.size
        self._apply = jax.jit(functools.partial(separator.apply, config.model), out_shardings=everywhere)

    def measure(self, variables: separator.Variables) -> Measurements:
        """Separates and measures all mixtures; all processes call it at the same step."""
        return measure_arrays(
            functools.partial(self._separate, variables),
            mixture=self._mixture,
            target=self._target,
            condition=self._condition,
            batch_size=self._batch_size,
        )

    def write_examples(
        self, variables: separator.Variables, writer: MetricWriter | None, *, step: int
    ) -> None:
        """Writes the first mixtures as sound and spectrogram.

        All processes call it at the same step; a process without a writer only computes.
        """
        rate, size = self._model.sample_rate_hz, self._batch_size
        shown = range(self._audio_examples)
        estimates = [
            estimate
            for rows in (slice(start, start + size) for start in shown[::size])
            for estimate in self._separate(
                variables, filled(self._mixture[rows], size), filled(self._condition[rows], size)
            )
        ]
        if writer is None:
            return
        for index in shown:
            estimate = estimates[index]
            waveforms = {
                "mixture": self._mixture[index],
                "target": self._target[index],
                "estimate": estimate,
            }
            for name, waveform in waveforms.items():
                writer.audio(step, f"validation{index}/{name}", waveform, sample_rate_hz=rate)
            figure = draw_spectrograms(waveforms, sample_rate_hz=rate, title=self._titles[index])
            writer.image(step, f"validation{index}", _pixels(figure))

    def _separate(
        self, variables: separator.Variables, mixture: np.ndarray, condition: np.ndarray
    ) -> np.ndarray:
        arrays = [
            # Every process holds all mixtures, and puts the rows of its own devices there.
            jax.make_array_from_callback(array.shape, self._split, array.__getitem__)
            for array in (mixture, condition)
        ]
        return jax.device_get(self._apply(variables, *arrays))


def _pixels(figure) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
