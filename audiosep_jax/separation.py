"""The separator as a user meets it: a recording and a query in, the described sound and the rest out."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from audiosep_jax.audio.residual import split
from audiosep_jax.audio.windows import WindowPlan
from audiosep_jax.checkpoints import folder
from audiosep_jax.config import ExperimentConfig, ModelConfig
from audiosep_jax.errors import AudioSepError
from audiosep_jax.models import separator
from audiosep_jax.query.encoder import QueryEncoder, load_encoder
from audiosep_jax.streaming import EstimateStream, FileSeparation, Progress, separate_file

BUNDLED_CHECKPOINT = Path(__file__).parent / "assets" / "audiosep-tiny"

# More rows than this, and than samples, are soundfile's layout, [samples, channels]: no recording is such.
_MAX_CHANNELS = 64

_WINDOW_SECONDS, _CONTEXT_SECONDS, _FADE_SECONDS = 10.0, 0.75, 0.25


@dataclasses.dataclass(frozen=True)
class Separation:
    """A mixture in two parts, both with the shape and rate of the mixture.

    Attributes:
      estimate: `[samples]` or `[channels, samples]` float32, the described sound.
      residual: everything else; estimate + residual is the mixture (see `AudioSep.separate`).
      sample_rate_hz: samples per second.
    """

    estimate: Float32[np.ndarray, "*channels samples"]
    residual: Float32[np.ndarray, "*channels samples"]
    sample_rate_hz: int


@dataclasses.dataclass(frozen=True, eq=False)
class AudioSep:
    """A separator with its weights and its query encoder. It is never changed; `load` makes one.

    Attributes:
      config: of the experiment that trained it.
      variables: "params" and "batch_stats" of the model.
    """

    config: ExperimentConfig
    variables: dict[str, Any]

    @property
    def sample_rate_hz(self) -> int:
        """The model's rate. Other rates are converted; what lies above half of it stays in the residual."""
        return self.config.model.sample_rate_hz

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
            raise AudioSepError(
                f"apply was given a mixture of shape {mixture_shape} and a condition of shape "
                f"{condition_shape}: [batch, samples] and [batch, {size}] are needed."
            )
        return self._compiled(self._on_device, mixture, condition)

    def separate(
        self,
        waveform: Float[np.ndarray, "*channels samples"],
        sample_rate_hz: int,
        *,
        query: str | None = None,
        condition: Float[np.ndarray, " size"] | None = None,
    ) -> Separation:
        """Separates a waveform of any length and rate. Each channel is separated on its own.

        The estimate is rounded to 24 bits of the waveform's peak, so that estimate + residual is the waveform
        bit for bit where the waveform came from PCM of at most 24 bits, and within half a step of 24 bits
        where it did not. What lies above half the model's rate stays in the residual.

        Args:
          waveform: `[samples]` or `[channels, samples]`, floating point, full scale ±1.
          sample_rate_hz: of the waveform.
          query: a sentence that describes the sound to extract.
          condition: `[condition_size]`, instead of a query.

        Raises:
          AudioSepError: not exactly one of query and condition, or a waveform, rate or condition that
            cannot be used.
        """
        mixture = _checked_waveform(waveform)
        rate = _checked_rate(sample_rate_hz)
        vector = self.condition(query=query, condition=condition)
        rows = mixture[None] if mixture.ndim == 1 else mixture
        stream = self._stream_for(vector)(rows.shape[0], rate, rows.shape[1])
        estimate = np.concatenate([stream.push(rows), stream.flush()], axis=1).reshape(mixture.shape)
        return Separation(*split(mixture, estimate, peak=float(np.abs(mixture).max())), rate)

    def separate_file(
        self,
        path: str | Path,
        *,
        estimate_path: str | Path,
        residual_path: str | Path | None = None,
        query: str | None = None,
        condition: Float[np.ndarray, " size"] | None = None,
        progress: Progress | None = None,
    ) -> FileSeparation:
        """Separates a sound file of any length in constant memory.

        The outputs have the input's rate, channels and length. Their encoding is the input's where it is
        linear PCM, 24-bit PCM where it is lossy, 32-bit floating point where it is floating point. Estimate
        and residual add up to the input step for step in PCM, and as in `separate` in floating point.

        Args:
          path: the mixture, in any format that libsndfile reads.
          estimate_path: where the estimate goes: .wav, or another lossless format that holds the encoding.
          residual_path: where the residual goes, if anywhere.
          query: a sentence that describes the sound to extract.
          condition: `[condition_size]`, instead of a query.
          progress: called with the samples done and the samples in all, per channel.

        Raises:
          AudioSepError: as `separate`; or a file cannot be read or written, or would be overwritten.
        """
        return separate_file(
            path,
            stream_for=self._stream_for(self.condition(query=query, condition=condition)),
            estimate_path=estimate_path,
            residual_path=residual_path,
            progress=progress,
        )

    def condition(
        self, *, query: str | None = None, condition: Float[np.ndarray, " size"] | None = None
    ) -> Float32[np.ndarray, " size"]:
        """Returns the condition of a query, from the cache where it was met before, or checks one.

        Raises:
          AudioSepError: not exactly one of both, an empty query, or a vector of the wrong shape.
        """
        if (query is None) == (condition is None):
            raise AudioSepError("Give either a query (a sentence) or a condition (a vector), and not both.")
        if query is not None:
            if query not in self._conditions:
                self._conditions[query] = self._encoder.encode([query])[0]
            return self._conditions[query]
        size = self.config.model.condition_size
        vector = np.asarray(condition)
        if vector.shape != (size,) or not np.issubdtype(vector.dtype, np.number):
            raise AudioSepError(
                f"The condition has shape {vector.shape}: a vector of {size} numbers is needed."
            )
        if not np.isfinite(vector).all():
            raise AudioSepError("The condition holds NaN or infinity: give finite numbers.")
        return vector.astype(np.float32)

    def _stream_for(self, condition: np.ndarray) -> Callable[[int, int, int], EstimateStream]:
        # A CPU gains nothing from several windows at once, and pays for those that only fill a batch.
        batch_size = 1 if jax.default_backend() == "cpu" else 8
        conditions = jnp.broadcast_to(jnp.asarray(condition), (batch_size, len(condition)))

        def process(windows: Float32[np.ndarray, "batch window"]) -> Float32[np.ndarray, "batch window"]:
            return np.asarray(self.apply(jnp.asarray(windows), conditions))

        def stream_for(channels: int, sample_rate_hz: int, samples: int) -> EstimateStream:
            needed = -(-samples * self.sample_rate_hz // sample_rate_hz)
            return EstimateStream(
                process,
                plan=_plan(self.config.model, needed),
                grid=self.config.model.hop_length * self.config.model.time_multiple,
                batch_size=batch_size,
                channels=channels,
                sample_rate_hz=sample_rate_hz,
                model_rate_hz=self.sample_rate_hz,
            )

        return stream_for

    @functools.cached_property
    def _compiled(self) -> Any:
        return jax.jit(functools.partial(separator.apply, self.config.model))

    @functools.cached_property
    def _on_device(self) -> Any:
        return jax.device_put(self.variables)

    @functools.cached_property
    def _encoder(self) -> QueryEncoder:
        encoder = load_encoder(self.config.query)
        if encoder.condition_size != self.config.model.condition_size:
            raise AudioSepError(
                f"The query encoder {self.config.query.encoder!r} gives {encoder.condition_size} numbers, "
                f"but the model needs {self.config.model.condition_size}: use the encoder of its training."
            )
        return encoder

    @functools.cached_property
    def _conditions(self) -> dict[str, np.ndarray]:
        return {}


def load(checkpoint: str | Path | None = None) -> AudioSep:
    """Loads a separator.

    Args:
      checkpoint: a checkpoint folder; None takes the one that comes with the package.

    Raises:
      AudioSepError: the folder is missing, incomplete or damaged.
    """
    if checkpoint is None and not BUNDLED_CHECKPOINT.is_dir():
        raise AudioSepError("This installation comes without a checkpoint: give the folder of one.")
    loaded = folder.load(BUNDLED_CHECKPOINT if checkpoint is None else checkpoint)
    return AudioSep(loaded.config, loaded.variables)


def _plan(config: ModelConfig, samples: int) -> WindowPlan:
    # One of three lengths, so that few programs are compiled. Each fills whole steps of the model's time
    # pooling, and so does the stride of the longest: every window is pooled alike.
    step = config.hop_length * config.time_multiple
    rate = config.sample_rate_hz
    steps = max(8, -(-round(_WINDOW_SECONDS * rate + config.hop_length) // step))
    fade, context = round(_FADE_SECONDS * rate), round(_CONTEXT_SECONDS * rate)
    for part in (4, 2):
        window = -(-steps // part) * step - config.hop_length
        if samples <= window:
            return WindowPlan(window=window, context=min(context, (window - 1) // 2), fade=0)
    window = steps * step - config.hop_length
    stride = (window - 2 * context - fade) // step * step
    context = (window - stride - fade) // 2
    return WindowPlan(window=window, context=context, fade=window - stride - 2 * context)


def _checked_waveform(waveform: Any) -> Float32[np.ndarray, "*channels samples"]:
    array = np.asarray(waveform)
    if array.ndim not in (1, 2) or array.size == 0:
        raise AudioSepError(
            f"The waveform has shape {array.shape}: [samples] or [channels, samples] is needed, with at "
            "least one sample."
        )
    if array.ndim == 2 and array.shape[0] > max(array.shape[1], _MAX_CHANNELS):
        raise AudioSepError(
            f"The waveform has shape {array.shape}, which is {array.shape[0]} channels of {array.shape[1]} "
            "samples: did you mean waveform.T?"
        )
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise AudioSepError(f"The waveform is of type {array.dtype}: floating point in ±1 is needed.")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise AudioSepError("The waveform holds NaN or infinite samples: remove them first.")
    return array


def _checked_rate(sample_rate_hz: int) -> int:
    if not np.isfinite(sample_rate_hz) or sample_rate_hz < 1 or int(sample_rate_hz) != sample_rate_hz:
        raise AudioSepError(
            f"A sample rate of {sample_rate_hz} Hz was given: a positive whole number is needed."
        )
    return int(sample_rate_hz)
