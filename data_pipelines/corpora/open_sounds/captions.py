"""Captions of mixtures that name two sounds."""

from collections.abc import Sequence

from data_pipelines.corpora.open_sounds import table
from data_pipelines.corpora.open_sounds.arrangement import generator

TEMPLATES = (
    "{} and {}",
    "{} with {}",
    "{}, and {} too",
    "both {} and {}",
    "{} together with {}",
    "{} as well as {}",
    "{} mixed with {}",
    "{} plus {}",
    "{} while one hears {}",
    "{} over {}",
    "the sounds of {} and {}",
    "{} along with {}",
)
"""Sentences about two sounds; the order of the sounds is drawn."""

HELDOUT_TEMPLATES = ("{} combined with {}", "not only {} but also {}", "{} accompanied by {}")
"""Other sentences, which no training may see."""


def of_two(first: str, second: str, *, count: int = 3, heldout: bool = False) -> tuple[str, ...]:
    """Returns different captions of a mixture of two labels, always the same for the same labels.

    The captions combine a template with a wording of each label. With `heldout` both are those that no
    training may see.

    Raises:
      KeyError: a label is unknown.

    >>> len(of_two("piano", "rain"))
    3
    """
    rng = generator(f"captions of {first} and {second} {heldout}")
    sides = [_wordings(first, heldout), _wordings(second, heldout)]
    templates = HELDOUT_TEMPLATES if heldout else TEMPLATES
    found: dict[str, None] = {}
    for template in (templates[int(place)] for place in rng.permutation(len(templates))):
        if len(found) == count:
            break
        words = [side[int(rng.integers(len(side)))] for side in sides]
        found[template.format(*(words if rng.random() < 0.5 else words[::-1]))] = None
    return tuple(found)


def _wordings(label: str, heldout: bool) -> Sequence[str]:
    entry = table.labels()[label]
    return entry.heldout_captions if heldout else entry.captions
