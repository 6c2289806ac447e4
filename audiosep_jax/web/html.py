"""The markup and the style of the page: results, errors and limits. Every text is escaped."""

from pathlib import Path, PurePath

from audiosep_jax.reports.html_page import Html
from audiosep_jax.reports.html_page import text as escaped
from audiosep_jax.web.limits import Limits
from audiosep_jax.web.uploads import Sound

TITLE = "audiosep"
INTRODUCTION = (
    "Upload or record a sound and describe what you want to hear. You get that sound, and everything else; "
    "together they are the recording."
)
FIRST = Html('<div class="note done">Give a recording, describe a sound, press the button.</div>')

# Only fonts of the reader's system: nothing is loaded.
CSS = (Path(__file__).parents[1] / "assets" / "page.css").read_text("utf-8")


def text(value: object) -> Html:
    """Returns a text as markup; braces and dollars are escaped too, because Gradio fills templates."""
    shown = escaped(value)
    for sign in "{}$`":
        shown = shown.replace(sign, f"&#{ord(sign)};")
    return Html(shown)


def error(sentence: str) -> Html:
    """Returns an error, which screen readers announce."""
    return Html(
        f'<div class="note error" role="alert" dir="auto"><b>That did not work.</b> {text(sentence)}</div>'
    )


def said(sound: Sound, *, warning: str | None, work_seconds: float) -> Html:
    """Returns the message above a result: the warning, or a summary of the recording."""
    if warning:
        return Html(f'<div class="note warning" role="alert" dir="auto">{text(warning)}</div>')
    channels = f"{sound.channels} channel{'' if sound.channels == 1 else 's'}"
    return Html(
        '<div class="note done" role="status">'
        f"{sound.seconds:.1f} s, {sound.sample_rate_hz:,} Hz, {channels}, separated in {work_seconds:.1f} s."
        "</div>"
    )


def results(query: str, without: str, *, level_db: float, addresses: dict[str, str], name: str) -> Html:
    """Returns players, downloads (named after the recording's file `name`) and spectrograms.

    The level is that of the estimate relative to the mixture; `addresses` has those of the files "mixture",
    "estimate", "residual" and "picture".
    """
    asked = wanted(query, without)
    rest = "everything else" if query else f"“{without}”"
    level = "silent" if level_db == -float("inf") else f"{level_db:+.1f} dB of the mixture"
    stem = PurePath(name).stem[:80] or "sound"
    players = (
        _player("Mixture", "your recording", addresses["mixture"], None)
        + _player("Estimate", f"{asked} ({level})", addresses["estimate"], f"{stem}.estimate.wav")
        + _player("Residual", rest, addresses["residual"], f"{stem}.residual.wav")
    )
    alt = f"Spectrograms of mixture, estimate ({asked}) and residual, one above the other."
    return Html(
        f'<div class="players">{players}</div><figure class="spectrograms">'
        f'<img src="{text(addresses["picture"])}" alt="{text(alt)}"><figcaption>Colour is the level in '
        "dB, 0 the loudest point of all three; the frequency axis is spaced in mel.</figcaption></figure>"
    )


def wanted(query: str, without: str) -> str:
    """Returns the request in words, such as “a dog” without “rain”."""
    if not query:
        return f"everything but “{without}”"
    return f"“{query}”" + (f" without “{without}”" if without else "")


def house_rules(limits: Limits, *, local: bool) -> str:
    """Returns the limits of the page, how long files are kept, and where they are separated."""
    where = "on this machine; nothing leaves it" if local else "on the machine that serves this page"
    return (
        f"Up to {limits.sound_seconds / 60:g} minutes of sound and {limits.upload_bytes / 1e6:g} MB, as WAV, "
        f"FLAC, OGG, MP3 or AIFF. Separated {where}. Files are removed when you close the page, and after "
        f"{limits.kept_seconds / 60:g} minutes."
    )


def _player(title: str, caption: str, address: str, download: str | None) -> Html:
    link = f'<a href="{text(address)}" download="{text(download)}">Download WAV</a>' if download else ""
    return Html(
        f'<section class="part {title.lower()}"><header><h3>{title}</h3>'
        f'<p dir="auto">{text(caption)}</p>{link}</header>'
        f'<audio controls preload="metadata" aria-label="{title}" src="{text(address)}"></audio></section>'
    )
