"""The clips of all datasets with consecutive numbers, and which of them may meet in a mixture."""

import copy
import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
import scipy.sparse

from audiosep_jax.config import MixtureConfig
from audiosep_jax.errors import AudioSepError, DatasetError
from data_pipelines.mixtures.clip_index import Clip
from data_pipelines.mixtures.collisions import CaptionSimilarity, Names, NameSet, name_clips, rules_in_words

_ATTEMPTS = 64

# Clips that may meet by their conditions cannot be listed in advance. So more proposals are tried, and then a
# stock of clips that may all meet one another.
_ATTEMPTS_BY_VECTOR = 1024
_STOCK = 64
_SEARCH = 20_000
_BLOCK = 8192
_ROWS = 1024


class ClipTable:
    """The clips of all datasets.

    `mixture.collisions` decides which clips never meet: by default those that share a label or a caption,
    regardless of case and spacing (`_` in a label counts as a space). A clip never meets itself. The distinct
    `captions` are sorted; `captions_of` has for each clip the numbers of its own.

    Raises:
      DatasetError: the recipe's ontology cannot be used.
    """

    def __init__(self, datasets: Sequence[Sequence[Clip]], mixture: MixtureConfig = MixtureConfig()):
        self.sizes = tuple(len(clips) for clips in datasets)
        self.clips = [clip for clips in datasets for clip in clips]
        self.captions = sorted({caption for clip in self.clips for caption in clip.captions})
        number = {caption: index for index, caption in enumerate(self.captions)}
        self.captions_of = [tuple(number[caption] for caption in clip.captions) for clip in self.clips]
        self._mixture = mixture
        self._names = name_clips(self.clips, mixture)
        self._similarity: CaptionSimilarity | None = None
        self._stock: list[int] = []

    @property
    def lacks_conditions(self) -> bool:
        """Whether the rule "similarity" still needs `with_conditions`."""
        return "similarity" in self._mixture.collisions and self._similarity is None

    def with_conditions(self, conditions: np.ndarray) -> "ClipTable":
        """Returns a table with the rule "similarity", if the recipe has it; float32 `[captions, size]`."""
        table = copy.copy(self)
        if "similarity" in self._mixture.collisions:
            table._similarity = CaptionSimilarity(self.captions_of, conditions, self._mixture.similarity)
        return table

    def may_meet(self, clip: int, others: Sequence[int]) -> bool:
        """Returns whether a clip collides with none of the others."""
        if clip in others:
            return False
        own, reach = self._names[clip]
        for other in others:
            names = self._names[other]
            if not own.isdisjoint(names.reach):
                return False
            if reach is not own and not reach.isdisjoint(names.own):
                return False
        # The most expensive rule comes last.
        return self._similarity is None or not self._similarity.similar(clip, others)

    def meetings(self) -> np.ndarray:
        """Returns `may_meet` of all pairs, bool `[clips, clips]`.

        With the rule "similarity", captions whose cosine is at the limit up to rounding do not meet.
        """
        owns, reaches = (
            _incidence([getattr(names, side) for names in self._names]) for side in Names._fields
        )
        apart = np.empty((len(self.clips), len(self.clips)), bool)
        for begin in range(0, len(self.clips), _ROWS):
            rows = slice(begin, begin + _ROWS)
            shared = (owns[rows] @ reaches.T + reaches[rows] @ owns.T).toarray()
            apart[rows] = shared == 0
            if self._similarity is not None:
                block = range(len(self.clips))[rows]
                apart[rows] &= self._similarity.surely_apart(block, range(len(self.clips)))
        np.fill_diagonal(apart, False)
        return apart

    def check(self, together: int) -> None:
        """Checks that every clip has `together - 1` others that may meet it and one another.

        Raises:
          DatasetError: a clip has too few; the text names it. With the rule "similarity", the search for a
            clip ends after 20,000 comparisons.
        """
        if self._similarity is not None:
            self._check_by_vector(together, self._similarity)
            return
        kinds = set(self._names)
        excluded = _excluded(self._names, kinds)
        if len(self.clips) > (together - 1) * max(excluded.values()):
            return  # the chosen clips cannot exclude all others
        # Clips that exclude the same others are one case, such as a thousand captions of speech; one clip is
        # checked for all. Those that exclude fewest come first, which makes a successful search short.
        firsts = {key: index for index, key in reversed(list(enumerate(_cases(self._names, kinds))))}
        candidates = sorted(firsts.values(), key=lambda clip: (excluded[self._names[clip]], clip))
        for first in firsts.values():
            if self._complete([first], together, candidates) is None:
                raise self._too_few_partners(first, together)

    def _check_by_vector(self, together: int, similarity: CaptionSimilarity) -> None:
        """Checks each clip against a stock of clips that may all meet one another.

        This takes one product of matrices for all clips. Clips with too few partners in the stock are
        searched for one by one.
        """
        order = np.random.default_rng(0).permutation(len(self.clips)).tolist()
        stock: list[int] = []
        for clip in order[: 16 * _STOCK]:
            if len(stock) < _STOCK and self.may_meet(clip, stock):
                stock.append(clip)
        self._stock = list(stock)
        by_name = copy.copy(self)
        by_name._similarity = None
        for begin in range(0, len(self.clips), _BLOCK):
            block = range(begin, min(begin + _BLOCK, len(self.clips)))
            for clip, apart in zip(block, similarity.surely_apart(block, stock), strict=True):
                met = (stock[place] for place in np.flatnonzero(apart))
                partners = (other for other in met if by_name.may_meet(clip, [other]))
                if sum(1 for _ in itertools.islice(partners, together - 1)) == together - 1:
                    continue
                budget = iter(range(_SEARCH))
                found = self._complete([clip], together, [*self._stock, *order], budget=budget)
                if found is None:
                    raise self._too_few_partners(clip, together)
                self._stock += [other for other in found[1:] if other not in self._stock]

    def companions(
        self,
        target: int,
        *,
        count: int,
        rng: np.random.Generator,
        pick: Callable[[np.random.Generator], int],
        beside: Sequence[int] = (),
    ) -> list[int]:
        """Draws `count` clips that may meet the target and one another, among those that `pick` proposes.

        After 64 proposals, all clips are searched in random order. With the rule "similarity", the search
        starts after 1024 proposals and covers only the clips that `check` found. The clips `beside` are
        chosen already and returned first, but dropped if too few others may meet them.
        """
        chosen = [target, *beside]
        for _ in range(_ATTEMPTS if self._similarity is None else _ATTEMPTS_BY_VECTOR):
            if len(chosen) == count + 1:
                return chosen[1:]
            clip = pick(rng)
            if self.may_meet(clip, chosen):
                chosen.append(clip)
        others = rng.permutation(len(self.clips) if self._similarity is None else self._stock)
        found = self._complete([target], count + 1, others.tolist())
        assert found is not None, "ClipTable.check raises for such a table"
        return found[1:]

    def _complete(
        self,
        chosen: list[int],
        size: int,
        candidates: list[int],
        begin: int = 0,
        budget: Iterator[object] = itertools.repeat(0),
    ) -> list[int] | None:
        """Adds candidates from `begin` on until `size` are chosen; a comparison takes one of `budget`."""
        if len(chosen) == size:
            return chosen
        for place in range(begin, len(candidates)):
            if next(budget, None) is None:
                return None
            if self.may_meet(candidates[place], chosen):
                found = self._complete([*chosen, candidates[place]], size, candidates, place + 1, budget)
                if found is not None:
                    return found
        return None

    def _too_few_partners(self, clip: int, together: int) -> AudioSepError:
        how = rules_in_words(self._mixture) or "at all"
        return DatasetError(
            f"The clip {self.clips[clip].id} has fewer than {together - 1} others {how} among the "
            f"{len(self.clips)} clips, so it cannot be mixed: add data of other classes, lower "
            "mixture.sources or mixture.absent_probability, or relax mixture.collisions."
        )


def _excluded(names: Sequence[Names], kinds: set[Names]) -> dict[Names, int]:
    """Returns an upper bound of the number of clips that each kind excludes; some may be counted twice."""
    owners = Counter(name for kind in names for name in kind.own)
    reached = Counter(name for kind in names for name in kind.reach)

    def of(kind: Names) -> int:
        above = sum(owners[name] for name in kind.reach - kind.own) if kind.reach is not kind.own else 0
        return max(1, sum(reached[name] for name in kind.own) + above)  # at least itself

    return {kind: of(kind) for kind in kinds}


def _incidence(sets: Sequence[NameSet]) -> scipy.sparse.csr_array:
    """Returns `[sets, names]`, 1 where a set has a name."""
    edges = np.cumsum([0, *map(len, sets)])
    columns = np.fromiter(itertools.chain.from_iterable(sets), np.int64, edges[-1])
    size = (len(sets), int(columns.max(initial=0)) + 1)
    return scipy.sparse.csr_array((np.ones(len(columns), np.int32), columns, edges), shape=size)


def _cases(names: Sequence[Names], kinds: set[Names]) -> Iterator[Hashable]:
    """Yields the case of each clip: clips of one case exclude one another and the same others."""
    owners = Counter(name for kind in kinds for name in kind.own)
    reached = Counter(name for kind in kinds for name in kind.reach)

    def of(kind: Names) -> Hashable:
        own = frozenset(name for name in kind.own if reached[name] > 1)
        reach = frozenset(name for name in kind.reach if owners[name] > (name in kind.own))
        # If no other kind reaches one of its names, two clips of such a case may meet.
        return (own, reach) if own else kind

    found = {kind: of(kind) for kind in kinds}
    # A clip without names excludes only itself.
    return (found[kind] if kind.own else index for index, kind in enumerate(names))
