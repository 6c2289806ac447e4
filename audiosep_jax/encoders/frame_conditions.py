"""Conditions of clips from the frames of their video, computed once and kept in a file."""

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

# The file is written after so many clips, so that a run that is killed while it begins loses little.
CLIPS_PER_WRITE = 1024

# A batch ends at whichever comes first, so that memory depends neither on the clips nor on their size.
IMAGES_PER_BATCH = 64
PIXELS_PER_BATCH = 1 << 26


class SeeingEncoder(QueryEncoder, ImageQueryEncoder, Protocol):
    """A tower that takes texts and images."""


class FrameConditions:
    """The mean of the unit embeddings of a clip's frames, brought to unit length.

    The file's name and metadata carry the tower's fingerprint; a condition belongs to the content of its
    frames, so that it outlives the dataset that they are stored in.

    Args:
      encoder: the tower.
      folder: where the file lies or will lie; None keeps conditions in memory only.
    """

    def __init__(self, encoder: SeeingEncoder, *, folder: str | Path | None = None) -> None:
        self._frames = _FrameEncoder(encoder)
        self._cache = ConditionCache(self._frames, folder=folder)

    def __call__(
        self, digests: Sequence[str], read: Callable[[str], Sequence[bytes]]
    ) -> Float[np.ndarray, "n size"]:
        """Returns one float32 unit vector per clip, in the order of the clips.

        Args:
          digests: what identifies the frames of each clip.
          read: returns the image files that such a name stands for, at least one; called for those alone
            whose condition is not known yet.

        Raises:
          AudioSepError: a file is no image, the frames of a clip cancel each other out, or the conditions
            cannot be written.
        """
        self._frames.read = read
        for start in range(0, len(digests), CLIPS_PER_WRITE):
            self._cache.conditions(digests[start : start + CLIPS_PER_WRITE])
        return self._cache.conditions(digests)


class _FrameEncoder:
    """What a cache takes for a tower: names of frames in, conditions out."""

    def __init__(self, encoder: SeeingEncoder) -> None:
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
        """Yields the place of a clip and the embedding of one of its frames, clip after clip."""
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
