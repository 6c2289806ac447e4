"""What a condition is taken from: the caption of a clip, its sound, or the frames of its video."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from audiosep_jax.errors import DatasetError
from data_pipelines.mixtures.clip_index import Clip

Modality = Literal["text", "audio", "frames"]

Hear = Callable[[Sequence[np.ndarray]], np.ndarray]
"""Takes float32 `[samples]` at the rate of the pipeline and returns one condition for each."""

See = Callable[[Sequence[str], Callable[[str], Sequence[bytes]]], np.ndarray]
"""Takes `Clip.frames` of distinct clips, and what returns the image files that one of them stands for;
returns one condition for each. It is asked once, when a pipeline is made."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Supervision:
    """How conditions are found. The default knows captions alone.

    Attributes:
      text_ratio: share of the examples that use their caption, among those that have the choice.
      hear: encodes sound; None where the tower cannot, or shall not.
      see: encodes frames; used where `hear` is None.
    """

    text_ratio: float = 1.0
    hear: Hear | None = None
    see: See | None = None

    def modalities(self, clips: Sequence[Clip]) -> tuple[Modality, ...]:
        """Returns what the conditions of these clips may be taken from, captions first."""
        drawn = {self.beside_text(clip) for clip in clips if self.text_ratio < 1 or not clip.captions}
        beside: tuple[Modality, ...] = ("audio", "frames")
        return ("text", *(name for name in beside if name in drawn))

    def beside_text(self, clip: Clip) -> Modality | None:
        """Returns what a clip's condition can be taken from other than a caption."""
        if self.hear:
            return "audio"
        return "frames" if self.see and clip.frames else None

    def check(self, clips: Sequence[Clip]) -> None:
        """Makes sure that every clip has a condition, and that those who draw have a choice.

        Raises:
          AudioSepError: a clip has none; the text names the first. Or no clip has other than its caption.
        """
        without = [clip for clip in clips if not clip.captions and not self.beside_text(clip)]
        if without:
            lack = "no caption and no frames" if self.see else "no caption"
            raise DatasetError(
                f"{len(without)} of {len(clips)} clips have {lack}, the first is {without[0].id}, so nothing "
                "says what to separate: describe them, or take their conditions from their sound (encoder "
                "clap with query.text_ratio below 1) or from frames of their video (encoder clip)."
            )
        if self.text_ratio < 1 and not any(map(self.beside_text, clips)):
            raise DatasetError(
                f"query.text_ratio is {self.text_ratio}, but none of the {len(clips)} clips has frames: set "
                "it to 1, or prepare the data with the column frames."
            )
