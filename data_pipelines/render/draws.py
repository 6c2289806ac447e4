"""Draws which clips meet in a corpus, without reading them; the same for the same clips and recipe."""

import collections
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from audiosep_jax.errors import DatasetError
from audiosep_jax.evals.evaluation_set_builder import shuffled_forever
from data_pipelines.render.recipe import Clip, Recipe

ATTEMPTS = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draw:
    """A planned mixture: positions in the list of clips, the target first, and the target's class or "".

    Rendering replaces clips without an audible segment.
    """

    index: int
    label: str
    clips: tuple[int, ...]
    snr_db: float


def draw_plan(clips: Sequence[Clip], recipe: Recipe) -> tuple[Draw, ...]:
    """Draws all mixtures of a corpus.

    Targets take turns; with a number per class, within their class. Interferers take turns by class and
    within it, so a class of few clips occurs as often as one of many. No two sounds of a mixture share a
    class, a caption or the recording that they were cut from.

    Raises:
      DatasetError: a clip lacks the caption or class that the recipe needs, or can be mixed with no other.
    """
    _check(clips, recipe)
    rng = np.random.default_rng(recipe.seed)
    groups = by_class(clips)
    targets, others = _Turns(groups, rng), _Turns(groups, rng)
    sizes, levels = shuffled_forever(recipe.sources, rng), shuffled_forever(recipe.snrs_db, rng)
    draws = []
    for label in _targets(clips, groups, recipe, rng):
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
    """Returns the positions of the clips of each class, sorted by class; "" stands for no class."""
    groups = collections.defaultdict(list)
    for place, clip in enumerate(clips):
        for label in clip.labels or ("",):
            groups[label].append(place)
    return dict(sorted(groups.items()))


def may_meet(first: Clip, second: Clip) -> bool:
    """Returns whether two clips share no class, no caption and not their recording."""
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
        raise DatasetError(f"a corpus needs two clips or more to mix, but there are {len(clips)}: give more.")
    by_caption = recipe.query == "caption"
    without = [clip.file for clip in clips if not (clip.captions if by_caption else clip.labels)]
    if without:
        other = "label" if by_caption else "caption"
        raise DatasetError(
            f"{len(without)} of {len(clips)} clips have no {recipe.query}, such as {without[0]}: leave "
            f"them out, or use the query {other}."
        )
    if recipe.per_class and not any(clip.labels for clip in clips):
        raise DatasetError("the clips have no classes: give the number of all mixtures, not per class.")


def _targets(
    clips: Sequence[Clip], groups: dict[str, list[int]], recipe: Recipe, rng: np.random.Generator
) -> Iterator[str | int]:
    """Yields the class of each target or, if the recipe gives the number of all mixtures, its position."""
    if recipe.per_class:
        yield from (label for label in groups if label for _ in range(recipe.per_class))
        return
    places = shuffled_forever(range(len(clips)), rng)
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
        self._labels = shuffled_forever(list(groups), rng)
        self._places = {label: shuffled_forever(places, rng) for label, places in groups.items()}

    def next(self) -> int:
        return self.next_of(next(self._labels))

    def next_of(self, label: str) -> int:
        return next(self._places[label])
