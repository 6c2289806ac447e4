"""The style of all figures: colours that colour-blind readers can tell apart, lines, and PNG bytes."""

import io
import itertools
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from audiosep_jax.errors import ReportError
from audiosep_jax.utils.atomic import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
FILE_DPI = 150
"""Of figures that are files of their own, not parts of a page."""
BLUE, RED, GREY = "#4477aa", "#cc3311", "#666666"
# The "bright" scheme of Paul Tol's notes on colour (SRON/EPS/TN/09-002), without the grey.
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#aa3377", "#66ccee")
_DASHES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D")
MOST_LINES = len(COLOURS) * len(_DASHES)


def line_styles(count: int) -> list[tuple[str, str, str]]:
    """Returns a colour, a dash and a marker for each of several lines; no two lines share all three.

    Raises a `ReportError` if there are more than `MOST_LINES`.
    """
    if count > MOST_LINES:
        raise ReportError(f"{count} runs in one picture cannot be told apart: give at most {MOST_LINES}.")
    pairs = itertools.product(zip(_DASHES, _MARKERS, strict=True), COLOURS)
    return [(colour, dash, marker) for (dash, marker), colour in itertools.islice(pairs, count)]


def png(figure: "Figure", *, dpi: float | None = None) -> bytes:
    """Returns a figure as a PNG file, by default with its own dots per inch."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        # Letters that the font lacks become boxes; the page has the text, too.
        warnings.filterwarnings("ignore", message=r"(?s)Glyph .* missing from")
        figure.savefig(file, format="png", dpi=dpi or "figure")
    return file.getvalue()


def save(figure: "Figure", path: str | Path) -> None:
    """Writes a figure as an image, whole or not at all; the suffix of `path` selects the format.

    Raises:
      StorageError: the file cannot be written.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary)


def shortened(value: str, longest: int) -> str:
    """Returns a text as one line of at most `longest` characters, with "…" where it is cut.

    Examples:
      >>> shortened("a dog barks at night", 12)
      'a dog barks…'
    """
    line = " ".join("".join(one if one.isprintable() else " " for one in value).split())
    return line if len(line) <= longest else f"{line[: longest - 1].rstrip()}…"


def clean(axis: "Axes", *, grid: Literal["both", "x", "y"] = "both") -> None:
    """Removes the upper and right spines of an axis, and draws a light grid below the data."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis=grid, color="#dddddd", linewidth=0.8)
    axis.set_axisbelow(True)
