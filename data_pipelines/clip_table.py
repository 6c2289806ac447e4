"""The clips of all datasets, numbered through, and the rule which of them may meet in a mixture."""

from collections import Counter
from collections.abc import Callable, Sequence, Set

import numpy as np

from audiosep_jax.errors import AudioSepError
from data_pipelines.clip_index import Clip

_ATTEMPTS = 64


class ClipTable:
    """The clips of all datasets.

    Two clips never meet if they have the same label or one caption in common, whatever the case and the
    spacing (`_` in a label counts as a space). Nothing says what a clip without a caption holds, so it also
    meets no clip of its own recording.

    Args:
      datasets: the clips of each dataset.

    Attributes:
      clips: metadata, dataset after dataset.
      sizes: clips per dataset.
      captions: every distinct caption, sorted.
      captions_of: per clip, the numbers of its captions.
    """

    def __init__(self, datasets: Sequence[Sequence[Clip]]):
        self.sizes = tuple(len(clips) for clips in datasets)
        self.clips = [clip for clips in datasets for clip in clips]
        self.captions = sorted({caption for clip in self.clips for caption in clip.captions})
        number = {caption: index for index, caption in enumerate(self.captions)}
        self.captions_of = [tuple(number[caption] for caption in clip.captions) for clip in self.clips]
        undescribed = {clip.source for clip in self.clips if not clip.captions}
        self._kinds = [_kind(clip, undescribed) for clip in self.clips]

    def may_meet(self, clip: int, others: Sequence[int]) -> bool:
        """Returns whether a clip shares neither label nor caption with any of the others."""
        return all(self._kinds[clip].isdisjoint(self._kinds[other]) for other in others)

    def check(self, together: int) -> None:
        """Makes sure that every clip finds `together - 1` others that may all meet.

        Raises:
          AudioSepError: a clip does not; the text names it.
        """
        holders = Counter(name for kind in self._kinds for name in kind)
        excluded = {kind: sum(holders[name] for name in kind) for kind in set(self._kinds)}
        if len(self.clips) > (together - 1) * max(excluded.values()):
            return  # whoever has been chosen leaves somebody over
        # One clip stands for all that exclude the same: a thousand captions of speech are one case. Those
        # that exclude fewest come first, so that a search is short unless it is hopeless.
        bearers = Counter(name for kind in excluded for name in kind)
        shared = [frozenset(name for name in kind if bearers[name] > 1) or kind for kind in self._kinds]
        firsts = {kind: index for index, kind in reversed(list(enumerate(shared)))}
        candidates = sorted(firsts.values(), key=lambda clip: (excluded[self._kinds[clip]], clip))
        for first in firsts.values():
            if self._complete([first], together, candidates) is None:
                raise AudioSepError(
                    f"The clip {self.clips[first].id} finds no {together - 1} others of other labels and "
                    f"captions among the {len(self.clips)} clips, so it cannot be mixed: add data of other "
                    "classes, or lower mixture.sources or mixture.absent_probability."
                )

    def companions(
        self, target: int, *, count: int, rng: np.random.Generator, pick: Callable[[np.random.Generator], int]
    ) -> list[int]:
        """Draws clips that may meet the target and one another.

        Args:
          target: the clip that they join.
          count: how many.
          rng: decides.
          pick: proposes a clip.
        """
        chosen = [target]
        for _ in range(_ATTEMPTS):
            if len(chosen) == count + 1:
                return chosen[1:]
            clip = pick(rng)
            if self.may_meet(clip, chosen):
                chosen.append(clip)
        found = self._complete([target], count + 1, rng.permutation(len(self.clips)).tolist())
        assert found is not None, "ClipTable.check lets no such table pass"
        return found[1:]

    def _complete(
        self, chosen: list[int], size: int, candidates: list[int], begin: int = 0
    ) -> list[int] | None:
        if len(chosen) == size:
            return chosen
        for place in range(begin, len(candidates)):
            if self.may_meet(candidates[place], chosen):
                found = self._complete([*chosen, candidates[place]], size, candidates, place + 1)
                if found is not None:
                    return found
        return None


def _kind(clip: Clip, undescribed: Set[str]) -> frozenset[tuple[str, str]]:
    """Returns everything that clips must not have in common."""
    names = {("caption", _plain(caption)) for caption in clip.captions}
    if label := _plain(clip.label.replace("_", " ")):
        names.add(("label", label))
    if clip.source in undescribed:
        names.add(("source", clip.source))
    return frozenset(names)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
