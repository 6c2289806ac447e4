"""The licences of Freesound's clips."""

import re
from collections.abc import Sequence

from audiosep_jax.errors import UsageError

KINDS = ("cc0", "by", "by-nc", "sampling+")
"""All licences of Freesound."""

_URL = re.compile(r"creativecommons\.org/(?:publicdomain/(zero)|licenses/([a-z+-]+))/")


def kind_of(url: str) -> str:
    """Returns the member of `KINDS` that an address means; the address itself if it means none.

    >>> kind_of("http://creativecommons.org/licenses/by/3.0/")
    'by'
    """
    found = _URL.search(url.lower())
    return ("cc0" if found[1] else found[2]) if found else url.strip()


def check(kinds: Sequence[str]) -> frozenset[str]:
    """Returns the kinds as a set; one that is not in `KINDS` is an error."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise UsageError(f"Freesound has no licence {unknown[0]!r}: choose from {', '.join(KINDS)}.")
    return frozenset(kinds)
