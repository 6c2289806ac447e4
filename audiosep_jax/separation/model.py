"""A loaded model: its weights, its query encoder, and what is computed once for all that it separates."""

import dataclasses
import functools
import itertools
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.encoders.base import QueryEncoder, load_encoder
from audiosep_jax.errors import EncoderError, QueryError, WaveformError
from audiosep_jax.models import separator
from audiosep_jax.models.inference import engine
from audiosep_jax.separation import example_queries, presence, window_plans
from audiosep_jax.separation.checks import checked_condition
from audiosep_jax.separation.estimator import Estimator, task_for
from audiosep_jax.separation.options import Options
from audiosep_jax.separation.queries import Query, QueryLike, average, described
from audiosep_jax.separation.stream import EstimateStream, Work

# One call leaves cores idle in its serial parts, and an accelerator has the next batch before the one before
# is fetched.
_IN_FLIGHT = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Core:
    """A model that is ready to separate.

    Attributes:
      config: of the experiment that trained it.
      variables: "params" and "batch_stats" of the model.
      calibration: what the level of an estimate says about whether the sound is there, if that was measured.
    """

    config: ExperimentConfig
    variables: dict[str, Any]
    calibration: presence.Calibration | None = None

    @property
    def sample_rate_hz(self) -> int:
        """The model's rate. Other rates are converted; what lies above half of it follows `high_band`."""
        return self.config.model.sample_rate_hz

    @property
    def encoder_fingerprint(self) -> str:
        """Of the query encoder, by which conditions are known to be comparable; wherever it lies.

        Raises:
          AudioSepError: the encoder cannot be loaded, or does not fit.
        """
        return self._encoder.fingerprint

    def apply(
        self, mixture: Float[Array, "batch samples"], condition: Float[Array, "batch size"]
    ) -> Float[Array, "batch samples"]:
        """The raw model call: one compiled program per shape, differentiable, usable inside `jax.jit`.

        Args:
          mixture: `[batch, samples]` at the model's rate.
          condition: `[batch, condition_size]`.

        Returns:
          The estimate, `[batch, samples]`.

        Raises:
          AudioSepError: a shape does not fit.
        """
        size = self.config.model.condition_size
        mixture_shape, condition_shape = jnp.shape(mixture), jnp.shape(condition)
        if len(mixture_shape) != 2 or condition_shape != (mixture_shape[0], size) or 0 in mixture_shape:
            raise WaveformError(
                f"apply was given a mixture of shape {mixture_shape} and a condition of shape "
                f"{condition_shape}: [batch, samples] and [batch, {size}] are needed."
            )
        return self._compiled(self._on_device, mixture, condition)

    def condition(
        self,
        *,
        query: QueryLike | None = None,
        query_audio: example_queries.AudioExample | None = None,
        query_images: Sequence[example_queries.ImageExample] | None = None,
        condition: Float[np.ndarray, " size"] | None = None,
    ) -> Float32[np.ndarray, " size"]:
        """Returns the condition that says which sound to extract. Give exactly one argument.

        Args:
          query: a sentence that describes the sound, encoded once; or a `Query`, whose parts are averaged.
          query_audio: a sound like it: a file, or a pair of waveform and rate in Hz. Channels are averaged,
            the first 10 s count. It needs a tower that hears ("clap").
          query_images: pictures of its source, for example the frames of a clip: files, or uint8
            `[height, width, 3]`. Their mean is taken, of unit length. It needs a tower that sees ("clip").
          condition: `[condition_size]`, checked and returned.

        Raises:
          AudioSepError: not exactly one argument, one that cannot be used, or one that the model's query
            encoder cannot take.
        """
        asked = described(query, query_audio, query_images, condition)
        if asked.negatives:
            raise QueryError("A condition says what is in the sound: give the query without its `without`.")
        return self._mean(asked)

    def stream_for(
        self, queries: Sequence[Query], options: Options, *, stems: bool = False
    ) -> Callable[[int, int, int], EstimateStream]:
        """Prepares a pass: encodes the queries, and computes what does not depend on the recording.

        Args:
          queries: one per estimate. Of a query that only takes out, what it takes out is estimated.
          options: all of them, see `options.checked`.
          stems: the estimates share the mixture.

        Returns:
          (channels, sample rate in Hz, samples) -> a stream that estimates.

        Raises:
          AudioSepError: a query that cannot be used.
        """
        work = self.work(queries, options, stems=stems)
        upstream = options.get("upstream_windows", False)

        def stream_for(channels: int, sample_rate_hz: int, samples: int) -> EstimateStream:
            model = self.config.model
            needed = -(-samples * self.sample_rate_hz // sample_rate_hz)
            return EstimateStream(
                work,
                plan=window_plans.upstream_plan(model)
                if upstream
                else window_plans.window_plan(model, needed),
                grid=1 if upstream else window_plans.grid(model),
                channels=channels,
                sample_rate_hz=sample_rate_hz,
                model_rate_hz=self.sample_rate_hz,
            )

        return stream_for

    def work(self, queries: Sequence[Query], options: Options, *, stems: bool = False) -> Work:
        """Returns what is computed of every window; the arguments are those of `stream_for`.

        Raises:
          AudioSepError: a query that cannot be used.
        """
        process, outputs = self._estimator.process(task_for(queries, self._mean, stems=stems))
        return Work(
            process=process,
            outputs=outputs,
            estimates=len(queries),
            # A CPU gains nothing from several windows in a call, and pays for those that only fill a batch.
            batch_size=1 if jax.default_backend() == "cpu" else 8,
            in_flight=_IN_FLIGHT,
            shared=options.get("channel_mask") == "shared",
            extend=options.get("high_band") == "extend",
        )

    def judged(
        self, queries: Sequence[Query], levels_db: Sequence[float], options: Options
    ) -> tuple[presence.Presence, ...]:
        """Returns whether the sounds of queries are there, and warns where they seem not to be.

        Args:
          queries: of a pass.
          levels_db: of the estimates, as the stream measured them.
          options: of the pass.
        """
        below = options.get("absent_below_db")
        found = tuple(presence.judged(level, self.calibration, absent_below_db=below) for level in levels_db)
        for query, each in zip(queries, found, strict=True):
            warning = presence.absence_warning(each, query.name)
            if warning is not None:
                warnings.warn(warning, presence.AbsentQueryWarning, stacklevel=_levels_to_caller())
        return found

    def _mean(self, query: Query) -> Float32[np.ndarray, " size"]:
        """Returns the mean of a query's parts."""
        wordings = dict.fromkeys(itertools.chain.from_iterable(query.wordings))
        unknown = [text for text in wordings if text not in self._conditions]
        if unknown:
            self._conditions.update(zip(unknown, self._encoder.encode(unknown), strict=True))
        rows = [average(np.stack([self._conditions[text] for text in each]), None) for each in query.wordings]
        name = self.config.query.encoder
        if query.audio is not None:
            rows.append(example_queries.audio_condition(self._encoder, query.audio, name=name))
        if query.images is not None:
            rows.append(example_queries.images_condition(self._encoder, query.images, name=name))
        if query.condition is not None:
            rows.append(checked_condition(query.condition, self.config.model.condition_size))
        return average(np.stack(rows), query.weights)

    @functools.cached_property
    def _compiled(self) -> Any:
        return jax.jit(functools.partial(separator.apply, self.config.model))

    @functools.cached_property
    def _on_device(self) -> Any:
        return jax.device_put(self.variables)

    @functools.cached_property
    def _estimator(self) -> Estimator:
        return Estimator(engine.prepare(self.config.model, self.variables))

    @functools.cached_property
    def _encoder(self) -> QueryEncoder:
        encoder = load_encoder(self.config.query)
        if encoder.condition_size != self.config.model.condition_size:
            raise EncoderError(
                f"The query encoder {self.config.query.encoder!r} gives {encoder.condition_size} numbers, "
                f"but the model needs {self.config.model.condition_size}: use the encoder of its training."
            )
        return encoder

    @functools.cached_property
    def _conditions(self) -> dict[str, np.ndarray]:
        return {}


def _levels_to_caller() -> int:
    """Returns how many calls lie between a warning and the program that uses the package."""
    package, level = str(Path(__file__).parents[1]), 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    return level
