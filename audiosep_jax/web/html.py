"""What the page says: results, errors and limits as markup that shows every text and obeys none."""

from pathlib import PurePath

from audiosep_jax.reports.html_page import Html
from audiosep_jax.reports.html_page import text as escaped
from audiosep_jax.web.answers import Answer, Question
from audiosep_jax.web.limits import Limits

TITLE = "audiosep"
INTRODUCTION = (
    "Upload or record a sound and describe what you want to hear. You get that sound, and everything else; "
    "together they are the recording."
)


FIRST = Html('<div class="note done">Give a recording, describe a sound, press the button.</div>')


def text(value: object) -> Html:
    """Returns any text as markup. Braces and dollars are escaped, too: the page's library fills templates."""
    shown = escaped(value)
    for sign in "{}$`":
        shown = shown.replace(sign, f"&#{ord(sign)};")
    return Html(shown)


def error(sentence: str) -> Html:
    """An error, announced by screen readers."""
    return Html(
        f'<div class="note error" role="alert" dir="auto"><b>That did not work.</b> {text(sentence)}</div>'
    )


def said(answer: Answer) -> Html:
    """What is to be said about a result: a warning, or how loud it is."""
    if answer.warning:
        return Html(f'<div class="note warning" role="alert" dir="auto">{text(answer.warning)}</div>')
    sound = answer.sound
    channels = f"{sound.channels} channel{'' if sound.channels == 1 else 's'}"
    return Html(
        '<div class="note done" role="status">'
        f"{sound.seconds:.1f} s, {sound.sample_rate_hz:,} Hz, {channels}, separated in "
        f"{answer.work_seconds:.1f} s."
        "</div>"
    )


def results(answer: Answer, question: Question, addresses: dict[str, str], *, name: str) -> Html:
    """Players, downloads and spectrograms.

    Args:
      answer: of the separation.
      question: that it answers.
      addresses: where the page finds each file: "mixture", "estimate", "residual", "picture".
      name: what the user calls the recording, for the names of downloads.
    """
    asked = wanted(question)
    stem = PurePath(name).stem[:80] or "sound"
    players = "".join(
        (
            _player("Mixture", "what you gave", addresses["mixture"], None),
            _player(
                "Estimate",
                f"{asked} ({_level(answer.level_db)})",
                addresses["estimate"],
                f"{stem}.estimate.wav",
            ),
            _player("Residual", rest(question), addresses["residual"], f"{stem}.residual.wav"),
        )
    )
    alt = f"Spectrograms of mixture, estimate ({asked}) and residual, one above the other."
    return Html(
        f'<div class="players">{players}</div><figure class="spectrograms">'
        f'<img src="{text(addresses["picture"])}" alt="{text(alt)}"><figcaption>Colour is the level in '
        "dB, 0 the loudest point of all three; the frequency axis is spaced in mel.</figcaption></figure>"
    )


def wanted(question: Question) -> str:
    """Returns in words what was asked for."""
    query, without = question.query.strip(), question.without.strip()
    if not query:
        return f"everything but “{without}”"
    return f"“{query}”" + (f" without “{without}”" if without else "")


def rest(question: Question) -> str:
    """Returns in words what the residual is."""
    return "everything else" if question.query.strip() else f"“{question.without.strip()}”"


def house_rules(limits: Limits, *, local: bool) -> str:
    """What is taken, for how long it is kept, and where it is computed."""
    where = "on this machine; nothing leaves it" if local else "on the machine that serves this page"
    return (
        f"Up to {limits.sound_seconds / 60:g} minutes of sound and {limits.upload_bytes / 1e6:g} MB, as WAV, "
        f"FLAC, OGG, MP3 or AIFF. Separated {where}. Files are removed when you close the page, and after "
        f"{limits.kept_seconds / 60:g} minutes."
    )


def _player(title: str, what: str, address: str, download: str | None) -> Html:
    link = (
        f'<a href="{text(address)}" download="{text(download)}">Download WAV</a>'
        if download is not None
        else ""
    )
    return Html(
        f'<section class="part {title.lower()}"><header><h3>{title}</h3><p dir="auto">{text(what)}</p>{link}'
        "</header>"
        f'<audio controls preload="metadata" aria-label="{title}" src="{text(address)}"></audio></section>'
    )


def _level(level_db: float) -> str:
    return "silent" if level_db == -float("inf") else f"{level_db:+.1f} dB of the mixture"
