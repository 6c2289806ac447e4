"""CLAP: RoBERTa for texts and HTSAT for sounds, with unit vectors in one common space."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from audiosep_jax.audio.resample import resample
from audiosep_jax.encoders import model_files, tokenizer
from audiosep_jax.encoders.base import fingerprint
from audiosep_jax.encoders.batching import batches, fixed_batches
from audiosep_jax.encoders.bert import ACTIVATIONS, unit_rows
from audiosep_jax.encoders.clap import config as clap_config
from audiosep_jax.encoders.clap import htsat, log_mel, roberta
from audiosep_jax.encoders.clap import params as clap_weights
from audiosep_jax.encoders.clap.config import ClapConfig
from audiosep_jax.errors import EncoderError, QueryError, listed

HUGGING_FACE_ID = "laion/clap-htsat-unfused"

REQUIRED_FILES = ("config.json", "model.safetensors")
FILES = (*REQUIRED_FILES, *tokenizer.FILES, "preprocessor_config.json", "processor_config.json")

# AudioSep's most tokens of a text; RoBERTa takes no more either.
MAX_TOKENS = 512

# Sounds in a batch: few sizes, so that few programs are compiled.
AUDIO_BATCHES = (1, 4, 16)


def load(source: str = "") -> "ClapEncoder":
    """Loads a CLAP from a folder or a Hugging Face id; "" is laion/clap-htsat-unfused.

    A folder is that of a transformers `ClapModel`, or a tower folder converted from LAION's file or from an
    AudioSep checkpoint.

    Raises:
      EncoderError: the weights are missing, or not those of a CLAP without fusion.
    """
    return ClapEncoder(
        model_files.find_folder(source or HUGGING_FACE_ID, files=FILES, required=REQUIRED_FILES)
    )


class ClapEncoder:
    """Text or sound to a unit vector, as LAION's CLAP and transformers' `ClapModel` compute it.

    The first sound loads the audio tower; text queries do not need it. A condition has 512 numbers for
    LAION's models.
    """

    def __init__(self, folder: str | Path) -> None:
        """Loads the text tower of a folder, of the kinds that `load` takes.

        Raises:
          EncoderError: a file is missing or broken, or the model is not implemented.
        """
        folder = Path(folder)
        self.config = clap_config.load(folder)
        self.condition_size = self.config.projection_size
        self._path = folder / "model.safetensors"
        tensors = model_files.TensorFile(self._path)
        if problems := clap_weights.tensor_problems(self.config, tensors.shapes):
            raise EncoderError(f"{self._path} does not hold the CLAP of its config.json: {listed(problems)}.")
        self._tokenizer, self._tokenizer_hash = tokenizer.load_tokenizer(folder)
        tokenizer.check_vocabulary(self._tokenizer, self.config.text.vocab_size, folder=folder)
        self._max_tokens = min(MAX_TOKENS, self.config.text.max_tokens)
        params = clap_weights.text_parameters(self.config, tensors, where=str(self._path))
        self._text_params = jax.device_put(params)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over everything that a condition depends on, the audio tower included."""
        digest = hashlib.sha256()
        tensors = model_files.TensorFile(self._path)
        for name in clap_weights.audio_names(self.config):
            digest.update(name.encode())
            # As bytes, because buffers do not support bfloat16.
            digest.update(np.ascontiguousarray(tensors[name]).reshape(-1).view(np.uint8).data)
        settings = ("clap", self.config, self._max_tokens, digest.hexdigest())
        return fingerprint(settings, tokenizer_hash=self._tokenizer_hash, params=self._text_params)

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "n size"]:
        """Returns one unit vector per text, in the order of the texts.

        Texts of more tokens than the tower takes (512 for LAION's models) are cut, with a warning.

        Raises:
          QueryError: a text is empty, holds only white space, or is not valid Unicode.
        """
        tokens = tokenizer.tokenize(self._tokenizer, texts, max_tokens=self._max_tokens)
        conditions = np.empty((len(texts), self.condition_size), np.float32)
        padding = self.config.text.pad_token_id
        for rows, token_ids, mask in batches(tokens, max_tokens=self._max_tokens, padding_id=padding):
            embedded = _embed_text(self.config, self._text_params, *jax.device_put((token_ids, mask)))
            conditions[rows] = jax.device_get(embedded)[: len(rows)]
        return conditions

    def encode_audio(
        self, waveforms: Sequence[np.ndarray], *, sample_rate_hz: int
    ) -> Float[np.ndarray, "n size"]:
        """Returns one unit vector per sound, in their order. A sound is mono, floating point, `[samples]`.

        Sounds are resampled to 48 kHz. Longer ones than 10 s are cut to their first 10 s (LAION draws a
        random part); shorter ones are repeated as often as they fit whole and padded with zeros, as LAION
        does.

        Raises:
          QueryError: a waveform is empty, has another shape, or holds numbers that are not finite.
        """
        clips = [self._clip(waveform, place, sample_rate_hz) for place, waveform in enumerate(waveforms)]
        conditions = np.empty((len(clips), self.condition_size), np.float32)
        for rows, size in fixed_batches(len(clips), AUDIO_BATCHES):
            batch = np.zeros((size, self.config.clip_samples), np.float32)
            batch[: len(rows)] = [clips[row] for row in rows]
            embedded = _embed_audio(self.config, self._audio_params, jax.device_put(batch))
            conditions[rows] = jax.device_get(embedded)[: len(rows)]
        return conditions

    @functools.cached_property
    def _audio_params(self) -> dict[str, Any]:
        tensors = model_files.TensorFile(self._path)
        return jax.device_put(clap_weights.audio_parameters(self.config, tensors, where=str(self._path)))

    def _clip(self, waveform: np.ndarray, place: int, sample_rate_hz: int) -> Float[np.ndarray, " samples"]:
        what, waveform = f"query sound {place + 1}", np.asarray(waveform)
        if waveform.ndim != 1 or not np.issubdtype(waveform.dtype, np.floating):
            raise QueryError(
                f"{what} has the type {waveform.dtype} and the shape {waveform.shape}: a mono waveform of "
                "floating-point numbers, [samples], is needed."
            )
        if not len(waveform):
            raise QueryError(f"{what} is empty: give a recording of a sound.")
        samples, rate_hz = self.config.clip_samples, self.config.log_mel.sample_rate_hz
        if sample_rate_hz > 0:
            # One second more than is encoded, because the resampling filter reaches beyond the end.
            waveform = waveform[: (samples // rate_hz + 2) * int(sample_rate_hz)]
        if not np.isfinite(waveform).all():
            raise QueryError(f"{what} holds numbers that are not finite: repair the recording.")
        clip = resample(waveform.astype(np.float32), from_hz=sample_rate_hz, to_hz=rate_hz)
        return repeat_pad(clip, samples=samples)


def repeat_pad(waveform: Float[np.ndarray, " length"], *, samples: int) -> Float[np.ndarray, " samples"]:
    """Returns `samples` samples: cuts a longer waveform, repeats a shorter one and pads it with zeros.

    As `get_audio_features` of github.com/LAION-AI/CLAP does with `data_filling="repeatpad"`.

    Examples:
      >>> repeat_pad(np.array([1.0, 2.0]), samples=5).tolist()
      [1.0, 2.0, 1.0, 2.0, 0.0]
    """
    repeated = np.tile(waveform[:samples], max(1, samples // len(waveform)))
    return np.pad(repeated, (0, samples - len(repeated)))


class Projection(nn.Module):
    """The head of both towers: dense, activation, dense."""

    size: int
    activation: str

    @nn.compact
    def __call__(self, pooled: Float[Array, "batch inputs"]) -> Float[Array, "batch size"]:
        """Returns a vector per pooled output, of any length."""
        inner = ACTIVATIONS[self.activation](nn.Dense(self.size, name="inner")(pooled))
        return nn.Dense(self.size, name="outer")(inner)


def project(
    config: ClapConfig, params: Mapping[str, Any], pooled: Float[Array, "batch inputs"]
) -> Float[Array, "batch size"]:
    """Returns unit vectors in the common space. Pure and jit-able; float32 products on every platform.

    `params` are "inner" and "outer", each a kernel and a bias; `pooled` are outputs of a tower.
    """
    head = Projection(config.projection_size, config.projection_act)
    with jax.default_matmul_precision("highest"):
        projected: Array = head.apply({"params": params}, pooled)  # pyright: ignore[reportAssignmentType]
    return unit_rows(projected)


@functools.partial(jax.jit, static_argnums=0)
def _embed_text(
    config: ClapConfig,
    params: Mapping[str, Any],
    token_ids: Int[Array, "batch length"],
    mask: Bool[Array, "batch length"],
) -> Float[Array, "batch size"]:
    pooled = roberta.apply(config.text, params["roberta"], token_ids, mask)
    return project(config, params["projection"], pooled)


@functools.partial(jax.jit, static_argnums=0)
def _embed_audio(
    config: ClapConfig, params: Mapping[str, Any], waveforms: Float[Array, "batch samples"]
) -> Float[Array, "batch size"]:
    spectrograms = log_mel.log_mel(waveforms, config=config.log_mel, matrix=params["mel_matrix"])
    pooled = htsat.apply(config.audio, params["htsat"], spectrograms)
    return project(config, params["projection"], pooled)
