"""An HTML page in one file, without scripts and network access, with every text escaped."""

import base64
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NewType

from audiosep_jax.errors import ReportError
from audiosep_jax.utils.atomic import make_folder, replacing

Html = NewType("Html", str)
"""Escaped markup for a page. Only the functions of this module make it."""

PAGE = "report.html"
LARGEST_PAGE_BYTES = 40_000_000

# Allows data URLs and the page's own style: a browser blocks anything else.
_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fdfdfc; --soft: #5a5a5a; --line: #cfcfcf; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e6; --paper: #161718; --soft: #a9a9a9; --line: #45484b; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 64rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.note, figcaption, caption { color: var(--soft); font-size: .9rem; }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; background: #fff;
  border-radius: .4rem; }
.player { margin: .8rem 0; padding: .6rem .8rem; border: 1px solid var(--line); border-radius: .4rem; }
.player p { margin: 0 0 .4rem; }
audio { display: block; width: 100%; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  overflow-wrap: normal; }
th:first-child, td:first-child { text-align: left; min-width: 9rem; overflow-wrap: anywhere; }
thead th { white-space: nowrap; }
summary { cursor: pointer; margin: .8rem 0; }
"""


def text(value: object) -> Html:
    """Returns a text as escaped markup."""
    # HTML allows no control characters, and UTF-8 no lone surrogates, as in undecodable file names.
    shown = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", "\ufffd", str(value))
    return Html(html.escape(shown, quote=True))


def heading(title: str) -> Html:
    """Returns the heading of a section."""
    return Html(f'<h2 dir="auto">{text(title)}</h2>\n')


def paragraph(sentence: str, *, note: bool = False) -> Html:
    """Returns a paragraph; a note is smaller."""
    kind = ' class="note"' if note else ""
    return Html(f'<p dir="auto"{kind}>{text(sentence)}</p>\n')


def picture(png: bytes, *, alt: str, caption: str = "") -> Html:
    """Returns an embedded picture; `alt` describes it for readers who cannot see it."""
    data = base64.b64encode(png).decode("ascii")
    below = f'<figcaption dir="auto">{text(caption)}</figcaption>' if caption else ""
    return Html(f'<figure><img src="data:image/png;base64,{data}" alt="{text(alt)}">{below}</figure>\n')


def player(flac: bytes, *, label: str) -> Html:
    """Returns a player of an embedded sound, below its label."""
    data = base64.b64encode(flac).decode("ascii")
    return Html(
        f'<div class="player"><p dir="auto">{text(label)}</p><audio controls preload="metadata" '
        f'aria-label="{text(label)}" src="data:audio/flac;base64,{data}"></audio></div>\n'
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "") -> Html:
    """Returns a table that scrolls sideways on narrow screens; the first cell of a row is its heading."""
    head = "".join(f'<th scope="col">{text(cell)}</th>' for cell in header)
    lines = []
    for first, *others in rows:
        cells = "".join(f"<td>{text(cell)}</td>" for cell in others)
        lines.append(f'<tr><th scope="row" dir="auto">{text(first)}</th>{cells}</tr>\n')
    above = f"<caption>{text(caption)}</caption>" if caption else ""
    return Html(
        f'<div class="wide"><table>{above}<thead><tr>{head}</tr></thead>\n'
        f"<tbody>{''.join(lines)}</tbody></table></div>\n"
    )


def folded(summary: str, *parts: Html) -> Html:
    """Returns parts of a page that are hidden until their summary is clicked."""
    return Html(f"<details><summary>{text(summary)}</summary>\n{''.join(parts)}</details>\n")


def whole(title: str, *parts: Html) -> str:
    """Returns the page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1 dir="auto">{text(title)}</h1>\n{"".join(parts)}</main>\n</body>\n</html>\n'
    )


def write_report(folder: str | Path, page: str, pictures: dict[str, bytes], *, advice: str) -> Path:
    """Writes pictures and then the page, from `whole`; returns the page's path.

    Raises:
      ReportError: the page is larger than `LARGEST_PAGE_BYTES`; it gives `advice`, and no file is written.
      StorageError: a file cannot be written; earlier files stay.
    """
    content = page.encode("utf-8")
    path = Path(folder) / PAGE
    if len(content) > LARGEST_PAGE_BYTES:
        raise ReportError(
            f"{path} would have {len(content) / 1e6:.0f} MB, more than the {LARGEST_PAGE_BYTES / 1e6:.0f} MB "
            f"that every browser opens: {advice}."
        )
    make_folder(folder)
    for name, png in pictures.items():
        with replacing(Path(folder) / name) as temporary:
            temporary.write_bytes(png)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path
