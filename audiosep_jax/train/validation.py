"""SDRi on fixed mixtures of the held-out clips, while a model trains."""

import dataclasses
import functools

import jax
import numpy as np

from audiosep_jax.audio.mixing import mix
from audiosep_jax.config import ExperimentConfig, MixtureConfig
from audiosep_jax.evals.measure import Measurements, measure_arrays
from audiosep_jax.evals.spectrogram import draw_spectrograms
from audiosep_jax.models import separator
from audiosep_jax.train.writers import MetricWriter
from data_pipelines.mixtures import MixturePipeline
from data_pipelines.queries import Conditions
from data_pipelines.supervision import Supervision

_SECONDS = 5.0
_BATCH = 8


class Validation:
    """The same mixtures at every call: two clips at 0 dB, 5 s.

    Args:
      config: of the experiment; `data.validation` names the clips.
      conditions: vectors per caption.
      supervision: gives clips without a caption their condition, and no others.
    """

    def __init__(
        self, config: ExperimentConfig, conditions: Conditions, supervision: Supervision = Supervision()
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
        self._apply = jax.jit(functools.partial(separator.apply, config.model))

    def measure(self, variables: separator.Variables) -> Measurements:
        """Separates and measures all mixtures."""
        return measure_arrays(
            functools.partial(self._separate, variables),
            mixture=self._mixture,
            target=self._target,
            condition=self._condition,
            batch_size=_BATCH,
        )

    def write_examples(self, variables: separator.Variables, writer: MetricWriter, *, step: int) -> None:
        """Writes the first mixtures as sound and spectrogram."""
        count = self._audio_examples
        if not count:
            return
        rate = self._model.sample_rate_hz
        estimates = self._separate(variables, self._mixture[:count], self._condition[:count])
        for index, estimate in enumerate(estimates):
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
        estimate = self._apply(variables, jax.device_put(mixture), jax.device_put(condition))
        return jax.device_get(estimate)


def _pixels(figure) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
