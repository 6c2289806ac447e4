"""The markup and the style of the page: results, errors and limits. Every text is escaped."""

from pathlib import PurePath

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
CSS = """
.gradio-container { max-width: 76rem !important; margin: 0 auto !important; }
.intro h1 { font-size: 2rem; font-weight: 700; letter-spacing: -.02em; margin: .4rem 0 .1rem; }
.intro p { color: var(--body-text-color-subdued); font-size: 1.05rem; max-width: 46rem; margin: 0 0 .4rem; }
.rules p { color: var(--body-text-color-subdued); font-size: .85rem; margin: .2rem 0; }
.note { border-radius: .6rem; padding: .7rem .9rem; border: 1px solid; overflow-wrap: anywhere; }
.note.error { color: #7f1d1d; background: #fef2f2; border-color: #fca5a5; }
.note.warning { color: #713f12; background: #fefce8; border-color: #fde047; }
.note.done { color: var(--body-text-color-subdued); background: var(--block-background-fill);
  border-color: var(--border-color-primary); font-size: .9rem; padding: .45rem .9rem; }
#said { min-height: 3.4rem; }
#said .pending { opacity: 0; }
.empty { border: 2px dashed var(--border-color-primary); border-radius: .8rem; padding: 3.5rem 1.5rem;
  text-align: center; color: var(--body-text-color-subdued); }
.players { display: grid; gap: .7rem; }
.part { border: 1px solid var(--border-color-primary); border-left-width: 5px; border-radius: .6rem;
  background: var(--block-background-fill); padding: .6rem .8rem .7rem; }
.part.mixture { border-left-color: #9ca3af; }
.part.estimate { border-left-color: #d9480f; }
.part.residual { border-left-color: #1c7ed6; }
.part header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .1rem .6rem;
  margin-bottom: .4rem; }
.part h3 { font-size: 1rem; font-weight: 650; margin: 0; }
.part p { flex: 1 1 11rem; margin: 0; color: var(--body-text-color-subdued); font-size: .92rem;
  overflow-wrap: anywhere; }
.part a { font-size: .88rem; white-space: nowrap; color: inherit; text-decoration: underline; }
.part audio { display: block; width: 100%; height: 2.6rem; }
.spectrograms { margin: .9rem 0 0; }
.spectrograms img { width: 100%; height: auto; border-radius: .6rem; background: #fff;
  border: 1px solid var(--border-color-primary); }
.spectrograms figcaption { color: var(--body-text-color-subdued); font-size: .82rem; margin-top: .3rem; }
.html-container { padding: 0 !important; }
.examples { gap: .5rem !important; }
.examples button { font-weight: 400; font-size: .9rem; }
"""


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
    """Returns players, downloads and spectrograms.

    Args:
      query: the sound to extract, possibly empty.
      without: the sound to leave out, possibly empty.
      level_db: level of the estimate relative to the mixture.
      addresses: the address on the page of each file: "mixture", "estimate", "residual", "picture".
      name: file name of the recording, for the names of downloads.
    """
    asked = wanted(query, without)
    rest = "everything else" if query else f"“{without}”"
    level = "silent" if level_db == -float("inf") else f"{level_db:+.1f} dB of the mixture"
    stem = PurePath(name).stem[:80] or "sound"
    players = "".join(
        (
            _player("Mixture", "your recording", addresses["mixture"], None),
            _player("Estimate", f"{asked} ({level})", addresses["estimate"], f"{stem}.estimate.wav"),
            _player("Residual", rest, addresses["residual"], f"{stem}.residual.wav"),
        )
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
