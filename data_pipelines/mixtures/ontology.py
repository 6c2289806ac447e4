"""AudioSet's ontology: classes and the more general classes above them."""

import contextlib
import graphlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from audiosep_jax.errors import DatasetError

_SOURCE = "give the file ontology.json of AudioSet's ontology"


class Ontology:
    """Classes and their ancestors. A class may have several parents.

    Args:
      path: a list of classes in JSON, each with `id`, `name` and `child_ids`.

    Raises:
      DatasetError: the file cannot be read, is not such a list, has an unknown child, or has a class that is
        its own ancestor.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        classes = _read(self.path)
        self._ids: dict[str, set[str]] = {}
        parents: dict[str, set[str]] = {one: set() for one in classes}
        for one, (name, children) in classes.items():
            for known_as in (plain_class(name), plain_class(one)):
                self._ids.setdefault(known_as, set()).add(one)
            for child in children:
                if child not in classes:
                    raise DatasetError(
                        f"{self.path}: class {one!r} ({name}) has the child {child!r}, which the file "
                        f"lacks: {_SOURCE}, the whole file."
                    )
                parents[child].add(one)
        self._ancestors = self._closure(classes, parents)

    def ids(self, label: str) -> frozenset[str]:
        """Returns the classes of a name or id: none, one, or several if classes share the name.

        Case is ignored, `_` is a space, and a comma is an "and", as FSD50K writes it.
        """
        return frozenset(self._ids.get(plain_class(label), ()))

    def ancestors(self, one: str) -> frozenset[str]:
        """Returns all classes above a class, without itself."""
        return self._ancestors[one]

    def most_specific(self, ids: Iterable[str]) -> frozenset[str]:
        """Returns the given classes that are not ancestors of another of them."""
        ids = frozenset(ids)
        return ids.difference(*(self._ancestors[one] for one in ids))

    def _closure(
        self, classes: dict[str, tuple[str, list[str]]], parents: dict[str, set[str]]
    ) -> dict[str, frozenset[str]]:
        """Returns the ancestors of each class; goes down from the roots, parents before children."""
        ancestors: dict[str, frozenset[str]] = {}
        sorter = graphlib.TopologicalSorter(parents)
        with contextlib.suppress(
            graphlib.CycleError
        ):  # the classes outside of circles are ready all the same
            sorter.prepare()
        while ready := sorter.get_ready():
            for one in ready:
                ancestors[one] = frozenset().union(*({above} | ancestors[above] for above in parents[one]))
            sorter.done(*ready)
        if len(ancestors) < len(classes):
            circle = _circle(parents, set(classes) - set(ancestors))
            names = " < ".join(f"{one!r} ({classes[one][0]})" for one in circle)
            raise DatasetError(f"{self.path}: classes are their own ancestors, {names}: {_SOURCE}.")
        return ancestors


def plain_class(name: str) -> str:
    """Returns the form of a class name that is compared.

    >>> plain_class("Burping_and_eructation") == plain_class("Burping, eructation")
    True
    """
    words = re.sub(r"[_\s]+", " ", name.lower().replace(",", " and ")).strip()
    return re.sub(r"\band( and)+\b", "and", words)


def _circle(parents: dict[str, set[str]], left: set[str]) -> list[str]:
    """Returns classes each of which is a child of the next; the last is the first again."""
    way = [min(left)]
    # Each class that is left has a parent that is left; otherwise it would have become ready.
    while way[-1] not in way[:-1]:
        way.append(min(parents[way[-1]] & left))
    return way[way.index(way[-1]) :]


def _read(path: Path) -> dict[str, tuple[str, list[str]]]:
    try:
        values: Any = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DatasetError(f"mixture.ontology: {path} does not exist: {_SOURCE}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"mixture.ontology: {path} is not a readable JSON file: {error}.") from error
    if not isinstance(values, list) or not values:
        raise DatasetError(f"{path} is not a list of classes: {_SOURCE}.")
    classes: dict[str, tuple[str, list[str]]] = {}
    for number, value in enumerate(values, 1):
        found = value if isinstance(value, dict) else {}
        one, name, children = (found.get(key) for key in ("id", "name", "child_ids"))
        if (
            not (isinstance(one, str) and one and isinstance(name, str) and name)
            or not isinstance(children, list)
            or not all(isinstance(child, str) for child in children)
        ):
            raise DatasetError(
                f"{path}: class number {number} lacks a text `id`, a text `name` or a list `child_ids`: "
                f"{_SOURCE}."
            )
        if one in classes:
            raise DatasetError(f"{path}: class {one!r} ({name}) is listed twice: {_SOURCE}.")
        classes[one] = (name, children)
    return classes
