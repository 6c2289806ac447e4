"""Conditions of clips from the frames of their video, cached in files."""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float

from audiosep_jax.encoders.base import ImageQueryEncoder, QueryEncoder, mean_condition
from audiosep_jax.encoders.cache import ConditionCache
from audiosep_jax.encoders.images import decode_image
from audiosep_jax.errors import AudioSepError, DatasetError

# Clips between two writes: a run that is killed loses at most these.
CLIPS_PER_WRITE = 1024

# A batch ends at the first of both limits, so that many or large images take no more memory.
IMAGES_PER_BATCH = 64
PIXELS_PER_BATCH = 1 << 26


class TextImageEncoder(QueryEncoder, ImageQueryEncoder, Protocol):
    """An encoder of texts and images."""


class FrameConditions:
    """Conditions of clips: the mean of the unit embeddings of a clip's frames, scaled to unit length.

    Conditions are stored by the digest of the frames' content, so that another dataset with the same frames
    can use them. Names and metadata of the files contain the encoder's fingerprint. If `folder` is None,
    conditions are kept in memory only.
    """

    def __init__(self, encoder: TextImageEncoder, *, folder: str | Path | None = None) -> None:
        self._frames = _FrameEncoder(encoder)
        self._cache = ConditionCache(self._frames, folder=folder)

    def __call__(
        self, digests: Sequence[str], read: Callable[[str], Sequence[bytes]]
    ) -> Float[np.ndarray, "n size"]:
        """Returns one float32 unit vector per clip, in the order of the clips' digests.

        `read` takes a digest and returns the image files of its frames, at least one; it is called only for
        clips without a stored condition.

        Raises:
          QueryError: a file is no image.
          DatasetError: the frames of a clip cancel each other out.
          StorageError: the conditions cannot be written.
        """
        self._frames.read = read
        for start in range(0, len(digests), CLIPS_PER_WRITE):
            self._cache.conditions(digests[start : start + CLIPS_PER_WRITE])
        return self._cache.conditions(digests)


class _FrameEncoder:
    """The encoder that the cache calls: digests in, conditions out."""

    def __init__(self, encoder: TextImageEncoder) -> None:
        self._encoder = encoder
        self.condition_size = encoder.condition_size
        self.fingerprint = hashlib.sha256(f"frames {encoder.fingerprint}".encode()).hexdigest()
        self.read: Callable[[str], Sequence[bytes]] = lambda digest: ()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        conditions = np.empty((len(texts), self.condition_size), np.float32)
        for place, of_clip in itertools.groupby(self._embeddings(texts), key=lambda pair: pair[0]):
            try:
                conditions[place] = mean_condition(np.stack([embedding for _, embedding in of_clip]))
            except AudioSepError as error:
                raise DatasetError(f"The frames {texts[place]}: {error}") from error
        return conditions

    def _embeddings(self, digests: Sequence[str]) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the index of a clip and the embedding of one of its frames, clip after clip."""
        places: list[int] = []
        images: list[np.ndarray] = []
        for place, digest in enumerate(digests):
            for number, content in enumerate(self.read(digest)):
                places.append(place)
                images.append(decode_image(content, name=f"Frame {number + 1} of {digest}"))
                pixels = sum(image.shape[0] * image.shape[1] for image in images)
                if len(images) == IMAGES_PER_BATCH or pixels >= PIXELS_PER_BATCH:
                    yield from zip(places, self._encoder.encode_images(images), strict=True)
                    places, images = [], []
        if images:
            yield from zip(places, self._encoder.encode_images(images), strict=True)
