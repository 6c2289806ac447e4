"""The separator as a user meets it: a recording and a query in, the described sound and the rest out."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from audiosep_jax import examples, plans
from audiosep_jax.arguments import checked_condition, checked_rate, checked_waveform
from audiosep_jax.audio.residual import split
from audiosep_jax.checkpoints import folder, hub
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import AudioSepError
from audiosep_jax.models import separator
from audiosep_jax.query.encoder import QueryEncoder, load_encoder
from audiosep_jax.streaming import EstimateStream, FileSeparation, Progress, separate_file

# One call leaves cores idle in its serial parts, and an accelerator has the next batch before the one before
# is fetched.
_IN_FLIGHT = 2

BUNDLED_CHECKPOINT = Path(__file__).parent / "assets" / "audiosep-tiny"


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
        query_audio: examples.AudioExample | None = None,
        query_images: Sequence[examples.ImageExample] | None = None,
        condition: Float[np.ndarray, " size"] | None = None,
        upstream_windows: bool = False,
    ) -> Separation:
        """Separates a waveform of any length and rate. Each channel is separated on its own.

        The estimate is rounded to 24 bits of the waveform's peak, so that estimate + residual is the waveform
        bit for bit where the waveform came from PCM of at most 24 bits, and within half a step of 24 bits
        where it did not. What lies above half the model's rate stays in the residual.

        Args:
          waveform: `[samples]` or `[channels, samples]`, floating point, full scale ±1.
          sample_rate_hz: of the waveform.
          query: a sentence that describes the sound to extract; of the four, give exactly one.
          query_audio: a sound like it, as in `condition`.
          query_images: pictures of its source, as in `condition`.
          condition: `[condition_size]`.
          upstream_windows: cut long sounds as the PyTorch reference does: windows of 5 s, joined without a
            fade. Each length of a recording compiles a program of its own then.

        Raises:
          AudioSepError: a waveform, rate, query or condition that cannot be used.
        """
        mixture = checked_waveform(waveform)
        rate = checked_rate(sample_rate_hz)
        vector = self.condition(
            query=query, query_audio=query_audio, query_images=query_images, condition=condition
        )
        rows = mixture[None] if mixture.ndim == 1 else mixture
        stream = self._stream_for(vector, upstream_windows)(rows.shape[0], rate, rows.shape[1])
        estimate = np.concatenate([stream.push(rows), stream.flush()], axis=1).reshape(mixture.shape)
        return Separation(*split(mixture, estimate, peak=float(np.abs(mixture).max())), rate)

    def separate_file(
        self,
        path: str | Path,
        *,
        estimate_path: str | Path,
        residual_path: str | Path | None = None,
        query: str | None = None,
        query_audio: examples.AudioExample | None = None,
        query_images: Sequence[examples.ImageExample] | None = None,
        condition: Float[np.ndarray, " size"] | None = None,
        upstream_windows: bool = False,
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
          query: a sentence that describes the sound to extract; of the four, give exactly one.
          query_audio: a sound like it, as in `condition`.
          query_images: pictures of its source, as in `condition`.
          condition: `[condition_size]`.
          upstream_windows: as in `separate`.
          progress: called with the samples done and the samples in all, per channel.

        Raises:
          AudioSepError: as `separate`; or a file cannot be read or written, or would be overwritten.
        """
        vector = self.condition(
            query=query, query_audio=query_audio, query_images=query_images, condition=condition
        )
        return separate_file(
            path,
            stream_for=self._stream_for(vector, upstream_windows),
            estimate_path=estimate_path,
            residual_path=residual_path,
            progress=progress,
        )

    def condition(
        self,
        *,
        query: str | None = None,
        query_audio: examples.AudioExample | None = None,
        query_images: Sequence[examples.ImageExample] | None = None,
        condition: Float[np.ndarray, " size"] | None = None,
    ) -> Float32[np.ndarray, " size"]:
        """Returns the condition that says which sound to extract. Give exactly one argument.

        Args:
          query: a sentence that describes the sound; it is encoded once.
          query_audio: a sound like it: a file, or a pair of waveform and rate in Hz. Channels are averaged,
            the first 10 s count. It needs a tower that hears ("clap").
          query_images: pictures of its source, for example the frames of a clip: files, or uint8
            `[height, width, 3]`. Their mean is taken, of unit length. It needs a tower that sees ("clip").
          condition: `[condition_size]`, checked and returned.

        Raises:
          AudioSepError: not exactly one argument, one that cannot be used, or one that the model's query
            encoder cannot take.
        """
        given = {"query": query, "query_audio": query_audio, "query_images": query_images}
        names = [name for name, value in {**given, "condition": condition}.items() if value is not None]
        if len(names) != 1:
            raise AudioSepError(
                "Give either a query (a sentence), or query_audio, or query_images, or a condition (a "
                f"vector): exactly one is needed, and {' and '.join(names) or 'none'} came."
            )
        if query is not None:
            if query not in self._conditions:
                self._conditions[query] = self._encoder.encode([query])[0]
            return self._conditions[query]
        if query_audio is not None:
            return examples.audio_condition(self._encoder, query_audio, name=self.config.query.encoder)
        if query_images is not None:
            return examples.images_condition(self._encoder, query_images, name=self.config.query.encoder)
        return checked_condition(condition, self.config.model.condition_size)

    def _stream_for(
        self, condition: np.ndarray, upstream_windows: bool
    ) -> Callable[[int, int, int], EstimateStream]:
        # A CPU gains nothing from several windows at once, and pays for those that only fill a batch.
        batch_size = 1 if jax.default_backend() == "cpu" else 8
        conditions = jnp.broadcast_to(jnp.asarray(condition), (batch_size, len(condition)))

        def process(windows: Float32[np.ndarray, "batch window"]) -> Float32[np.ndarray, "batch window"]:
            return np.asarray(self.apply(jnp.asarray(windows), conditions))

        def stream_for(channels: int, sample_rate_hz: int, samples: int) -> EstimateStream:
            model = self.config.model
            needed = -(-samples * self.sample_rate_hz // sample_rate_hz)
            plan = plans.upstream_plan(model) if upstream_windows else plans.window_plan(model, needed)
            return EstimateStream(
                process,
                plan=plan,
                grid=1 if upstream_windows else plans.grid(model),
                batch_size=batch_size,
                channels=channels,
                sample_rate_hz=sample_rate_hz,
                model_rate_hz=self.sample_rate_hz,
                in_flight=_IN_FLIGHT,
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
      checkpoint: a checkpoint folder, or a model on the Hugging Face hub: "org/name", or "org/name@revision".
        None takes the one that comes with the package.

    Raises:
      AudioSepError: the folder is missing, incomplete or damaged, or the hub's model is neither cached nor to
        be downloaded.
    """
    if checkpoint is None and not BUNDLED_CHECKPOINT.is_dir():
        raise AudioSepError("This installation comes without a checkpoint: give the folder of one.")
    loaded = folder.load(BUNDLED_CHECKPOINT if checkpoint is None else hub.resolve(checkpoint))
    return AudioSep(loaded.config, loaded.variables)
