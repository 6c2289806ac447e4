"""The rules for clips that must not meet: shared names, and captions with similar conditions."""

import collections
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from audiosep_jax.config import MixtureConfig
from audiosep_jax.errors import DatasetError
from data_pipelines.mixtures.clip_index import Clip
from data_pipelines.mixtures.ontology import Ontology, plain_class

NameSet = frozenset[int]

# The error of a cosine in single precision is smaller.
_MARGIN = 1e-5


class Names(NamedTuple):
    """The names of a clip. Two clips collide if the `own` of one and the `reach` of the other overlap.

    Attributes:
      own: numbers of the clip's captions, labels, classes and recording.
      reach: the same and, in addition, the ancestors of its classes and the labels that overlap with its own.
    """

    own: NameSet
    reach: NameSet


def name_clips(clips: Sequence[Clip], mixture: MixtureConfig) -> list[Names]:
    """Returns the names of each clip. Clips with the same names share one object.

    With any rule, clips of one recording also collide, even across datasets.

    Raises:
      DatasetError: the ontology cannot be read, or has none of the clips' labels.
    """
    if not mixture.collisions:
        return [Names(frozenset(), frozenset())] * len(clips)
    recordings = collections.Counter(clip.source for clip in clips)
    rules = frozenset(mixture.collisions)
    classes = _Classes(mixture, clips) if {"label", "ontology"} & rules else None
    numbers: dict[tuple[str, str], int] = {}

    def numbered(names: set[tuple[str, str]]) -> NameSet:
        return frozenset(numbers.setdefault(name, len(numbers)) for name in names)

    seen: dict[Names, Names] = {}
    result = []
    for clip in clips:
        names: set[tuple[str, str]] = set()
        if "caption" in rules:
            names.update(("caption", _plain(caption)) for caption in clip.captions)
        if recordings[clip.source] > 1:
            names.add(("source", clip.source))
        own, above = classes.of(_labels(clip)) if classes else (set(), set())
        if "label" in rules and clip.also:
            above = above | {("label", _plain_label(label)) for label in clip.also}
        own = numbered(names | own)
        found = Names(own, own | numbered(above) if above else own)
        result.append(seen.setdefault(found, found))
    return result


class _Classes:
    """The names that come from labels, looked up once for each list of labels."""

    def __init__(self, mixture: MixtureConfig, clips: Sequence[Clip]):
        self._rules = frozenset(mixture.collisions)
        self._specific = mixture.specific_labels
        self._ontology = Ontology(mixture.ontology) if mixture.ontology else None
        self.of = functools.cache(self._look_up)
        if self._ontology:
            labels = sorted({label for clip in clips for label in _labels(clip)})
            if not any(map(self._ontology.ids, labels)):
                have = (
                    f"their {len(labels)} labels are not, as {labels[0]!r}"
                    if labels
                    else "they have no label"
                )
                raise DatasetError(
                    f"mixture.ontology: no clip has a class of {self._ontology.path} ({have}): give the "
                    "ontology that the data is labelled with, or prepare the data with its labels."
                )

    def _look_up(self, labels: tuple[str, ...]) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
        """Returns the names of labels, and those of their ancestors."""
        own: set[tuple[str, str]] = set()
        above: set[tuple[str, str]] = set()
        ids = {label: self._ontology.ids(label) if self._ontology else frozenset() for label in labels}
        meant = frozenset().union(*ids.values())
        if self._ontology and self._specific:
            meant = self._ontology.most_specific(meant)
            labels = tuple(label for label in labels if not ids[label] or ids[label] & meant)
        if "label" in self._rules:
            own.update(("label", _plain_label(label)) for label in labels)
        if self._ontology and "ontology" in self._rules:
            own.update(("class", one) for one in meant)
            # A label that the ontology lacks collides only with itself.
            own.update(("other class", plain_class(label)) for label in labels if not ids[label])
            above.update(("class", over) for one in meant for over in self._ontology.ancestors(one))
        return own, above


def _labels(clip: Clip) -> tuple[str, ...]:
    """Returns all distinct labels of a clip that are not blank, `label` first."""
    return tuple(label for label in dict.fromkeys((clip.label, *clip.labels)) if _plain_label(label))


def _plain_label(label: str) -> str:
    return _plain(label.replace("_", " "))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


class CaptionSimilarity:
    """Finds clips with captions whose conditions, float32 `[captions, size]`, have a cosine above `highest`.

    Only the vectors of the given clips are compared; memory does not grow with the square of the captions.
    Vectors have any norm; one of zeros is similar to none. `captions_of` numbers the captions of each clip.
    """

    def __init__(self, captions_of: Sequence[Sequence[int]], conditions: np.ndarray, highest: float):
        self._captions_of = captions_of
        self._conditions = conditions
        self._highest = highest
        energy = np.einsum("ij,ij->i", conditions, conditions, dtype=np.float64)
        self._lengths = np.sqrt(np.where(energy > 0, energy, 1))

    def similar(self, clip: int, others: Sequence[int]) -> bool:
        """Returns whether a caption of a clip is too similar to a caption of one of the others."""
        # Double precision, so that the order of a sum does not decide about equal captions.
        return bool(np.any(self._cosines([clip], others, np.float64) > self._highest))

    def surely_apart(self, clips: Sequence[int], others: Sequence[int]) -> np.ndarray:
        """Returns bool `[clips, others]`, true only where `similar` is false, by one product for all."""
        close = self._cosines(clips, others, np.float32) > self._highest - _MARGIN
        return ~_any(_any(close, self._counts(clips)).T, self._counts(others)).T

    def _cosines(self, clips: Sequence[int], others: Sequence[int], dtype: type[np.floating]) -> np.ndarray:
        """Returns `[captions of the clips, captions of the others]`."""
        rows, columns = (
            [caption for clip in side for caption in self._captions_of[clip]] for side in (clips, others)
        )
        first, second = (self._conditions[side].astype(dtype, copy=False) for side in (rows, columns))
        return first @ second.T / self._lengths[rows, None] / self._lengths[columns]

    def _counts(self, clips: Sequence[int]) -> list[int]:
        return [len(self._captions_of[clip]) for clip in clips]


def _any(rows: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """Returns for consecutive groups of rows, some of which may be empty, whether any row is true."""
    sums = np.concatenate([np.zeros((1, rows.shape[1]), np.int32), np.cumsum(rows, axis=0, dtype=np.int32)])
    edges = np.cumsum([0, *counts])
    return sums[edges[1:]] > sums[edges[:-1]]


def rules_in_words(mixture: MixtureConfig) -> str:
    """Returns how clips that may meet differ, for an error message."""
    said: dict[str, Callable[[], str]] = {
        "label": lambda: "of other labels",
        "caption": lambda: "with other captions",
        "similarity": lambda: f"with captions of a cosine up to {mixture.similarity:g}",
        "ontology": lambda: "of classes that are neither above nor below its own",
    }
    return ", ".join(words() for rule, words in said.items() if rule in mixture.collisions)
