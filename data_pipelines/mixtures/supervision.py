"""The source of a condition: the caption of a clip, its sound, or the frames of its video."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from audiosep_jax.errors import DatasetError
from data_pipelines.mixtures.clip_index import Clip

Modality = Literal["text", "audio", "frames"]

Hear = Callable[[Sequence[np.ndarray]], np.ndarray]
"""Takes waveforms, float32 `[samples]` at the pipeline's rate, and returns one condition for each."""

See = Callable[[Sequence[str], Callable[[str], Sequence[bytes]]], np.ndarray]
"""Takes `Clip.frames` of distinct clips, and a function that returns the image files of one of them; returns
one condition for each. A pipeline calls it once, when it is made."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Supervision:
    """Decides the source of each condition. By default, it is always the caption.

    Attributes:
      text_ratio: share of examples that use their caption, among those with a caption and another source.
      hear: encodes sound; None if the tower cannot or should not.
      see: encodes frames; used if `hear` is None.
    """

    text_ratio: float = 1.0
    hear: Hear | None = None
    see: See | None = None

    def modalities(self, clips: Sequence[Clip]) -> tuple[Modality, ...]:
        """Returns the sources of the conditions of these clips, captions first."""
        drawn = {self.beside_text(clip) for clip in clips if self.text_ratio < 1 or not clip.captions}
        beside: tuple[Modality, ...] = ("audio", "frames")
        return ("text", *(name for name in beside if name in drawn))

    def beside_text(self, clip: Clip) -> Modality | None:
        """Returns the source of a clip's condition other than its captions, None if there is no other."""
        if self.hear:
            return "audio"
        return "frames" if self.see and clip.frames else None

    def check(self, clips: Sequence[Clip]) -> None:
        """Checks that every clip has a source of its condition, and with `text_ratio` below 1 some have two.

        Raises:
          DatasetError: a clip has no source; the text names the first. Or no clip has a second source.
        """
        without = [clip for clip in clips if not clip.captions and not self.beside_text(clip)]
        if without:
            lack = "no caption and no frames" if self.see else "no caption"
            raise DatasetError(
                f"{len(without)} of {len(clips)} clips have {lack}, the first is {without[0].id}, so they "
                "have no query: give them captions, or take their conditions from their sound (encoder clap "
                "with query.text_ratio below 1) or from frames of their video (encoder clip)."
            )
        if self.text_ratio < 1 and not any(map(self.beside_text, clips)):
            raise DatasetError(
                f"query.text_ratio is {self.text_ratio}, but none of the {len(clips)} clips has frames: set "
                "it to 1, or prepare the data with the column frames."
            )
