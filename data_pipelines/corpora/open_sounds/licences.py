"""Licences of Debian's copyright files: which of them a choice of licences allows."""

import re
from collections.abc import Iterable, Sequence

from audiosep_jax.errors import UsageError

_FAMILIES = {
    "cc0": r"cc0(-.*)?",
    "public-domain": r"public-domain",
    "by": r"cc-by-[0-9.]+(-us)?\+?",
    "by-sa": r"cc-by-sa(-[0-9.]+(-us)?\+?)?",
    "gpl": r"gpl(-[0-9.]+)?\+?( with .*)?",
    "mit": r"mit|expat",
}

FAMILIES = tuple(_FAMILIES)
"""Names for groups of licences."""


def allows(licence: str, chosen: Iterable[str]) -> bool:
    """Returns whether a sound may be used by one who accepts the chosen licences or families.

    One of several alternatives ("A or B") suffices; of licences that hold together ("A and B") all must be
    chosen.

    >>> allows("CC-BY-3.0 or CC0", ["cc0"]), allows("GPL-2+", ["by", "CC-BY-SA-3.0"])
    (True, False)
    """
    accepted = {name.lower() for name in chosen}
    return (
        any(
            all(accepted & {part, _family(part)} for part in alternative.split(" and "))
            for alternative in licence.lower().split(" or ")
        )
        or licence.lower() in accepted
    )


def check(chosen: Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    """Returns the chosen licences; one that is neither known nor a family is an error.

    Raises:
      UsageError: a licence is unknown.
    """
    names = {part for licence in known for part in re.split(r" or | and ", licence.lower())}
    names |= {licence.lower() for licence in known}
    unknown = [name for name in chosen if name.lower() not in names | set(FAMILIES)]
    if unknown:
        raise UsageError(
            f"open_sounds has no licence {unknown[0]!r}: choose families ({', '.join(FAMILIES)}) or names "
            "that `audiosep prepare open_sounds --licences` lists."
        )
    return tuple(chosen)


def _family(licence: str) -> str:
    return next((name for name, form in _FAMILIES.items() if re.fullmatch(form, licence)), licence)
