"""CLIP: texts and images to unit vectors in one common space."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tokenizers
from jaxtyping import Array, Float, Int

from audiosep_jax.encoders import model_files
from audiosep_jax.encoders.base import fingerprint
from audiosep_jax.encoders.batching import batches, fixed_batches
from audiosep_jax.encoders.bert import unit_rows
from audiosep_jax.encoders.clip import config as clip_config
from audiosep_jax.encoders.clip import params as clip_weights
from audiosep_jax.encoders.clip import towers
from audiosep_jax.encoders.clip.config import ClipConfig
from audiosep_jax.encoders.images import SETTINGS_FILES, Preprocessing, load_preprocessing, preprocess
from audiosep_jax.encoders.tokenizer import FILES as TOKENIZER_FILES
from audiosep_jax.encoders.tokenizer import check_vocabulary, load_tokenizer, tokenize
from audiosep_jax.errors import EncoderError, QueryError

# Its conditions have 512 numbers, as AudioSep's released models need.
HUGGING_FACE_ID = "openai/clip-vit-base-patch32"

REQUIRED_FILES = ("config.json", "model.safetensors")
FILES = (*REQUIRED_FILES, *TOKENIZER_FILES, *SETTINGS_FILES)

# Images in a batch: few sizes, so that few programs are compiled.
IMAGES_PER_BATCH = (1, 4, 16)


def load(source: str = "") -> "ClipEncoder":
    """Loads CLIP from a folder in transformers' layout or a Hugging Face id; "" is `HUGGING_FACE_ID`.

    Raises:
      EncoderError: the weights are missing, or not those of a CLIP.
    """
    folder = model_files.find_folder(source or HUGGING_FACE_ID, files=FILES, required=REQUIRED_FILES)
    return ClipEncoder.from_folder(folder)


class ClipEncoder:
    """Text or image to a unit vector in one common space, of 512 numbers for ViT-B/32.

    Texts of more tokens than the tower takes (77 for OpenAI's models) are cut, with a warning.
    """

    def __init__(
        self,
        config: ClipConfig,
        params: Mapping[str, Any],
        tokenizer: tokenizers.Tokenizer,
        *,
        tokenizer_hash: str,
        preprocessing: Preprocessing,
    ) -> None:
        """Takes loaded parts; `from_folder` loads them."""
        self.condition_size = config.projection_dim
        self._config = config
        self._params = jax.device_put(params)
        self._tokenizer = tokenizer
        self._tokenizer_hash = tokenizer_hash
        self._preprocessing = preprocessing

    @classmethod
    def from_folder(cls, folder: str | Path) -> "ClipEncoder":
        """Loads a folder in the layout of transformers' CLIPModel.

        Raises:
          EncoderError: a file is missing or broken, or the files do not belong together.
        """
        folder = Path(folder)
        config = clip_config.load_config(folder / "config.json")
        tokenizer, tokenizer_hash = load_tokenizer(folder)
        _check_tokenizer(folder, config, tokenizer)
        preprocessing = load_preprocessing(folder, image_size=config.vision.image_size)
        path = folder / "model.safetensors"
        return cls(
            config,
            clip_weights.parameters(config, model_files.TensorFile(path), where=str(path)),
            tokenizer,
            tokenizer_hash=tokenizer_hash,
            preprocessing=preprocessing,
        )

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over everything that a condition depends on."""
        settings = ("clip", self._config, self._preprocessing)
        return fingerprint(settings, tokenizer_hash=self._tokenizer_hash, params=self._params)

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "n size"]:
        """Returns one unit vector per text, in the order of the texts.

        Raises:
          QueryError: a text is empty, holds only white space, or is not valid Unicode.
        """
        max_tokens = self._config.text.max_position_embeddings
        tokens = tokenize(self._tokenizer, texts, max_tokens=max_tokens)
        conditions = np.empty((len(texts), self.condition_size), np.float32)
        for rows, token_ids, _ in batches(tokens, max_tokens=max_tokens):
            embedded = _embed_text(self._config, self._params, jax.device_put(token_ids))
            conditions[rows] = jax.device_get(embedded)[: len(rows)]
        return conditions

    def encode_images(self, images: Sequence[np.ndarray]) -> Float[np.ndarray, "n size"]:
        """Returns one unit vector per image, in the order of the images.

        An image is uint8 [height, width, 3], red, green and blue, of any size, as `images.read_image` returns
        it.

        Raises:
          QueryError: an image has another type or shape.
        """
        conditions = np.empty((len(images), self.condition_size), np.float32)
        for place, image in enumerate(images):
            _check_image(image, place)
        size = self._config.vision.image_size
        for rows, batch in fixed_batches(len(images), IMAGES_PER_BATCH):
            pixels = np.zeros((batch, size, size, 3), np.float32)
            for row, place in enumerate(rows):
                pixels[row] = preprocess(images[place], self._preprocessing)
            embedded = _embed_images(self._config, self._params, jax.device_put(pixels))
            conditions[rows] = jax.device_get(embedded)[: len(rows)]
        return conditions


@functools.partial(jax.jit, static_argnums=0)
def _embed_text(
    config: ClipConfig, params: Mapping[str, Any], token_ids: Int[Array, "batch length"]
) -> Float[Array, "batch size"]:
    return unit_rows(towers.text_embeddings(config, params, token_ids))


@functools.partial(jax.jit, static_argnums=0)
def _embed_images(
    config: ClipConfig, params: Mapping[str, Any], pixels: Float[Array, "batch height width 3"]
) -> Float[Array, "batch size"]:
    return unit_rows(towers.image_embeddings(config, params, pixels))


def _check_image(image: Any, place: int) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = getattr(image, "dtype", type(image).__name__)
        raise QueryError(f"Image {place} is {kind}: an array of uint8 numbers from 0 to 255 is needed.")
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise QueryError(f"Image {place} has the shape {image.shape}: [height, width, 3] is needed.")


def _check_tokenizer(folder: Path, config: ClipConfig, tokenizer: tokenizers.Tokenizer) -> None:
    """Raises if the tower's end-of-text token is not the tokenizer's."""
    text = config.text
    check_vocabulary(tokenizer, text.vocab_size, folder=folder)
    last = tokenizer.encode("a").ids[-1:]
    if text.eos_token_id not in (towers.LEGACY_EOS_TOKEN_ID, *last):
        raise EncoderError(
            f"{folder} has a tokenizer that ends texts with the token {last} and a model that looks for "
            f"{text.eos_token_id}: they do not belong together; download the model again."
        )
