"""Sizes of a model from the shapes of its tensors, some of which may be missing or wrong."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

# More than any tower has: a number in a hostile file's names is not a number of things to list.
_MOST = 1000


def most(sizes: Iterable[int | None], *, default: int, least: int = 1) -> int:
    """Returns the size that most tensors show, so that a wrong or missing one is outvoted.

    Args:
      sizes: what each tensor says; None where it says nothing. Of two that are as frequent the first wins.
      default: where no tensor says anything usable.
      least: smaller sizes are not believed.
    """
    counted = Counter(size for size in sizes if size is not None and size >= least)
    return counted.most_common(1)[0][0] if counted else default


def axis(shapes: Mapping[str, tuple[int, ...]], name: str, index: int, *, rank: int) -> int | None:
    """Returns the length of an axis, or None if the tensor is missing or has another number of axes."""
    shape = shapes.get(name, ())
    return shape[index] if len(shape) == rank else None


def numbered(shapes: Mapping[str, tuple[int, ...]], prefix: str, *, least: int) -> int:
    """Returns how many equal parts `{prefix}0.…`, `{prefix}1.…` there are, gaps counted.

    Args:
      shapes: of all tensors.
      prefix: of the parts' names, such as `encoder.layer.`.
      least: what has fewer tensors is no part but a stray name.
    """
    pattern = re.compile(re.escape(prefix) + r"(\d{1,4})\.")
    counted = Counter(int(match[1]) for match in map(pattern.match, shapes) if match)
    whole = [number for number, count in counted.items() if count >= least and number < _MOST]
    return max(whole, default=-1) + 1
