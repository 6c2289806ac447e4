"""Licences of single clips, as Freesound states them."""

import re
from collections.abc import Sequence

from audiosep_jax.errors import DatasetError

KINDS = ("cc0", "by", "by-nc", "sampling+")
"""Those under which Freesound's clips are."""

_URL = re.compile(r"creativecommons\.org/(?:publicdomain/(zero)|licenses/([a-z+-]+))/")


def kind_of(url: str) -> str:
    """Returns which of `KINDS` a licence's address means, or what it says where it is none of them."""
    found = _URL.search(url.lower())
    return ("cc0" if found[1] else found[2]) if found else url.strip()


def check(kinds: Sequence[str]) -> frozenset[str]:
    """Returns the wanted kinds.

    Raises:
      AudioSepError: one of them is none.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise DatasetError(f"There is no licence {unknown[0]!r} on Freesound: choose of {', '.join(KINDS)}.")
    return frozenset(kinds)
