"""Where a warning belongs: the line of the program that called this package."""

import sys
from pathlib import Path


def levels_to_caller() -> int:
    """Returns how many calls of this package lie between a warning and the program that uses it.

    It is the `stacklevel` of a `warnings.warn` in the calling function.
    """
    package, level = str(Path(__file__).parents[1]), 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    return level
