"""Captions for clips of which a corpus only says the class names."""

import functools
from collections.abc import Iterable

# Words in the class names of AudioSet, and so of FSD50K, that are written with a capital.
_PROPER = frozenset(
    [
        *("Africa", "America", "Asia", "Bollywood", "Carnatic", "Christian", "Christmas", "DTMF"),
        *("Eastern", "French", "Hammond", "Latin", "Middle"),
    ]
)


def caption_of(labels: Iterable[str]) -> str:
    """Returns a caption that names all classes of a clip, as the target is all that a clip holds.

    Class names are taken as they are, except for their capital letters:

    >>> caption_of(("Male speech, man speaking", "French horn"))
    'male speech, man speaking, French horn'
    """
    return ", ".join(map(_plain, labels))


@functools.cache
def _plain(label: str) -> str:
    return " ".join(map(_lower, label.replace("_", " ").split()))


def _lower(word: str) -> str:
    return word if word.strip("(),") in _PROPER else word.lower()
