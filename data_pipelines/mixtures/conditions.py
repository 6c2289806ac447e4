"""The conditions of a pipeline: looked up for captions and frames, computed for sound."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from audiosep_jax.errors import DatasetError
from data_pipelines.mixtures.clip_table import ClipTable
from data_pipelines.mixtures.draws import Draw
from data_pipelines.mixtures.supervision import Supervision

Conditions = Mapping[str, np.ndarray] | Callable[[Sequence[str]], np.ndarray]
"""Condition vectors by caption, or a function that computes them, such as `QueryEncoder.encode`."""


class QueryTable:
    """Returns the conditions of draws; `frames` returns the image files of a clip by its index.

    Raises:
      DatasetError: a caption has no condition, or conditions have the wrong shape or are not finite.
    """

    def __init__(
        self,
        table: ClipTable,
        conditions: Conditions,
        supervision: Supervision,
        frames: Callable[[int], Sequence[bytes]],
    ):
        self._clips = table.clips
        self._hear = supervision.hear
        self._captions = _of_captions(conditions, table.captions) if table.captions else None
        self._rows: dict[str, int] = {}
        self._frames: np.ndarray | None = None
        if supervision.see and not supervision.hear:
            # A clip that always uses its caption needs no condition of its frames.
            seen = {
                clip.frames: index
                for index, clip in enumerate(table.clips)
                if clip.frames and (supervision.text_ratio < 1 or not clip.captions)
            }
            if seen:
                self._rows = {digest: row for row, digest in enumerate(seen)}
                rows = supervision.see(list(seen), lambda digest: frames(seen[digest]))
                self._frames = _checked(rows, len(seen), "clip with frames")

    @property
    def caption_conditions(self) -> np.ndarray:
        """Float32 `[captions, size]`, in the order of the table's captions."""
        return np.zeros((0, 1), np.float32) if self._captions is None else self._captions

    def conditions(self, draws: Sequence[Draw], heard: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 `[draws, size]`; `heard` has the sound of each draw of modality "audio"."""
        parts: dict[str, np.ndarray] = {}
        if self._captions is not None:
            parts["text"] = self._captions[[draw.caption for draw in draws if draw.modality == "text"]]
        if self._frames is not None:
            digests = [self._clips[draw.asked].frames for draw in draws if draw.modality == "frames"]
            parts["frames"] = self._frames[[self._rows[digest] for digest in digests]]
        if heard:
            assert self._hear is not None
            parts["audio"] = _checked(self._hear(heard), len(heard), "sound")
        sizes = {part.shape[1] for part in parts.values()}
        if len(sizes) > 1:
            raise DatasetError(
                f"The conditions of {', '.join(parts)} differ in length ({sorted(sizes)}): use one tower for "
                "all."
            )
        result = np.empty((len(draws), sizes.pop()), np.float32)
        modalities = np.array([draw.modality for draw in draws])
        for modality, part in parts.items():
            result[modalities == modality] = part
        return result


def _of_captions(conditions: Conditions, captions: Sequence[str]) -> np.ndarray:
    if not isinstance(conditions, Mapping):
        return _checked(conditions(captions), len(captions), "caption")
    missing = [caption for caption in captions if caption not in conditions]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(captions)} captions have no condition, the first is {missing[0]!r}: "
            "compute the conditions again."
        )
    return _checked(np.stack([conditions[caption] for caption in captions]), len(captions), "caption")


def _checked(rows: np.ndarray, count: int, each: str) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.ndim != 2 or len(rows) != count or not np.isfinite(rows).all():
        raise DatasetError(
            f"The conditions have shape {rows.shape}: give finite numbers of shape [{count}, size], one row "
            f"per {each}."
        )
    return rows.astype(np.float32)
