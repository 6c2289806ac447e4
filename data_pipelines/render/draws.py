"""Which clips meet: drawn without listening to them, the same for the same clips and recipe."""

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

from audiosep_jax.errors import DatasetError
from data_pipelines.render.recipe import Clip, Recipe

ATTEMPTS = 50

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draw:
    """A mixture as it is planned; clips without an audible part are replaced when they are heard.

    Attributes:
      index: of the mixture.
      label: the class that is asked for; "" where the target has none.
      clips: positions in the list of clips, the target first.
      snr_db: energy of the target over that of all others together.
    """

    index: int
    label: str
    clips: tuple[int, ...]
    snr_db: float


def draw_plan(clips: Sequence[Clip], recipe: Recipe) -> tuple[Draw, ...]:
    """Draws all mixtures of a corpus.

    Targets take turns, within their class where there is a number per class. Interferers take turns by
    class and within it, so that a class of few clips is heard as often as one of many. No two sounds of a
    mixture share a class, a caption or the recording that they were cut from.

    Args:
      clips: to draw from.
      recipe: how.

    Raises:
      AudioSepError: clips lack what the recipe asks for them by, or a clip can be mixed with no other.
    """
    _check(clips, recipe)
    rng = np.random.default_rng(recipe.seed)
    groups = by_class(clips)
    targets, others = _Turns(groups, rng), _Turns(groups, rng)
    sizes, levels = _forever(recipe.sources, rng), _forever(recipe.snrs_db, rng)
    draws = []
    for label in _asked(clips, groups, recipe, rng):
        if isinstance(label, int):
            target, name = label, (clips[label].labels or ("",))[0]
        else:
            target, name = targets.next_of(label), label
        chosen = [target]
        for _ in range(next(sizes) - 1):
            chosen.append(_companion(clips, chosen, others, rng))
        level = next(levels)
        if recipe.snr_range_db:
            lowest, highest = recipe.snr_range_db
            level = round(rng.uniform(lowest, highest), 2)
        draws.append(Draw(index=len(draws), label=name, clips=tuple(chosen), snr_db=float(level)))
    return tuple(draws)


def by_class(clips: Sequence[Clip]) -> dict[str, list[int]]:
    """Positions of the clips of each class, in the order of names; clips without a class under ""."""
    groups = collections.defaultdict(list)
    for place, clip in enumerate(clips):
        for label in clip.labels or ("",):
            groups[label].append(place)
    return dict(sorted(groups.items()))


def may_meet(first: Clip, second: Clip) -> bool:
    """Whether two clips have neither a class nor a caption nor their recording in common."""
    return (
        first.file != second.file
        and (not first.recording or first.recording != second.recording)
        and _names(first.labels).isdisjoint(_names(second.labels))
        and _names(first.captions).isdisjoint(_names(second.captions))
    )


def _names(texts: Sequence[str]) -> set[str]:
    return {" ".join(text.replace("_", " ").split()).casefold() for text in texts}


def _check(clips: Sequence[Clip], recipe: Recipe) -> None:
    if len(clips) < 2:
        raise DatasetError(f"a corpus needs two clips or more to mix, but there are {len(clips)}.")
    by_caption = recipe.query == "caption"
    nameless = [clip.file for clip in clips if not (clip.captions if by_caption else clip.labels)]
    if nameless:
        other = "label" if by_caption else "caption"
        raise DatasetError(
            f"{len(nameless)} of {len(clips)} clips have no {recipe.query}, such as {nameless[0]}: leave "
            f"them out, or ask by {other}."
        )
    if recipe.per_class and not any(clip.labels for clip in clips):
        raise DatasetError("the clips have no classes to make mixtures of each: give the number in all.")


def _asked(
    clips: Sequence[Clip], groups: dict[str, list[int]], recipe: Recipe, rng: np.random.Generator
) -> Iterator[str | int]:
    """Yields the class of each target, or, where a number in all is asked for, its position."""
    if recipe.per_class:
        yield from (label for label in groups if label for _ in range(recipe.per_class))
        return
    places = _forever(range(len(clips)), rng)
    yield from (next(places) for _ in range(recipe.count))


def _companion(clips: Sequence[Clip], chosen: list[int], turns: "_Turns", rng: np.random.Generator) -> int:
    def fits(place: int) -> bool:
        return all(may_meet(clips[place], clips[one]) for one in chosen)

    for _ in range(ATTEMPTS):
        place = turns.next()
        if fits(place):
            return place
    for place in rng.permutation(len(clips)):
        if fits(int(place)):
            return int(place)
    raise DatasetError(
        f"{' and '.join(clips[place].file for place in chosen)} can be mixed with no other clip: all share a "
        "class, a caption or a recording with them; give more clips, or ask for fewer sounds."
    )


class _Turns:
    """Clips by class, the classes and the clips of each taking turns."""

    def __init__(self, groups: dict[str, list[int]], rng: np.random.Generator) -> None:
        self._labels = _forever(list(groups), rng)
        self._places = {label: _forever(places, rng) for label, places in groups.items()}

    def next(self) -> int:
        return self.next_of(next(self._labels))

    def next_of(self, label: str) -> int:
        return next(self._places[label])


def _forever(items: Sequence[T], rng: np.random.Generator) -> Iterator[T]:
    """Yields the items in a shuffled order, again and again."""
    while True:
        for index in rng.permutation(len(items)):
            yield items[int(index)]
