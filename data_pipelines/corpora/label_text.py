"""Captions for clips that have only class names."""

import functools
from collections.abc import Iterable

# Words in the class names of AudioSet and FSD50K that keep their capital letter.
_PROPER = frozenset(
    [
        *("Africa", "America", "Asia", "Bollywood", "Carnatic", "Christian", "Christmas", "DTMF"),
        *("Eastern", "French", "Hammond", "Latin", "Middle"),
    ]
)


def caption_of(labels: Iterable[str]) -> str:
    """Returns a caption with all class names of a clip, because the whole clip is the target.

    Only capital letters change:

    >>> caption_of(("Male speech, man speaking", "French horn"))
    'male speech, man speaking, French horn'
    """
    return ", ".join(map(_plain, labels))


@functools.cache
def _plain(label: str) -> str:
    words = label.replace("_", " ").split()
    return " ".join(word if word.strip("(),") in _PROPER else word.lower() for word in words)
