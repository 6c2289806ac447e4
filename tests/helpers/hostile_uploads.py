"""Hostile uploads, drawn from a seed, each with its expected outcome."""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hostile_sounds import EITHER, KINDS, REFUSED, RIGHT
from web_server import noise, wav

NAMES = (
    "street.wav",
    "🐕🌧️.wav",
    "line\nbreak.wav",
    "tab\tand\x1b[31mcolour.wav",
    "‮vaw.teerts",
    "x" * 300 + ".wav",
    "<img src=x onerror=alert(1)>.wav",
    "{{7*7}}${7*7}.wav",
    "../../../../tmp/escaped.wav",
    "C:\\windows\\escaped.wav",
    "CON.wav",
    ".wav",
    ".hidden",
    "no suffix",
    "song.raw",
    "song.txt",
    "100%25.wav",
    "a;b|c&d`e`.wav",
    '"quoted".wav',
)
QUERIES = (
    "a dog barking",
    "",
    "   \n ",
    "word " * 10_000,
    "🐕" * 50,
    "a\x00b\x1b[2J",
    "‮gnikrab god a",
    "<script>alert(1)</script>",
    "'; DROP TABLE sounds; --",
    "{{query}} ${query} `query`",
    "../../etc/passwd",
    "ſ͜͡͏̵" * 40,
)


@dataclasses.dataclass(frozen=True)
class Case:
    """An upload.

    Attributes:
      kind: of content, for messages.
      content, name: of the file.
      query, without: the sentences.
      expected: the outcome: a result, a refusal with a sentence, or either.
    """

    kind: str
    content: bytes
    name: str
    query: str
    without: str
    expected: str


def cases(count, seed, *, most_bytes, most_seconds):
    """Yields cases; kinds take turns, everything else is drawn."""
    draw = np.random.default_rng(seed)
    kinds = list(_kinds(draw, most_bytes, most_seconds).items())
    for number in range(count):
        kind, make = kinds[number % len(kinds)]
        content, name, expected = make()
        name = name or NAMES[draw.integers(len(NAMES))]
        query, without = QUERIES[draw.integers(len(QUERIES))], ""
        if draw.random() < 0.5:
            query = QUERIES[0]
        if draw.random() < 0.3:
            without = QUERIES[draw.integers(len(QUERIES))]
        yield Case(kind, content, name, query, without, expected)


def _kinds(draw, most_bytes, most_seconds) -> dict[str, Callable[[], tuple[bytes, str, str]]]:
    """Returns per kind a function that makes the content, its own name (or ""), and the outcome."""

    def shared(kind, make):
        def drawn():
            with tempfile.TemporaryDirectory() as folder:
                case = make(draw, Path(folder))
                (path,) = Path(folder).iterdir()
                # Browsers play fewer rates, and the page believes a header with a too long length.
                either = case.expected == RIGHT and kind in ("rate", "streamed header")
                return path.read_bytes(), path.name, EITHER if either else case.expected

        return drawn

    def own(content, expected=RIGHT):
        return content, "", expected

    def sound(rate=16_000, channels=None, seconds=0.2, **given):
        return wav(noise(seconds, rate, channels=channels, seed=draw.integers(1 << 30)), rate, **given)

    return {kind: shared(kind, make) for kind, make in KINDS.items()} | {
        "sound": lambda: own(sound(seconds=draw.uniform(0.05, 0.4))),
        "ten hours": lambda: own(wav(np.zeros(100 * 36_000), 100, form="FLAC"), REFUSED),
        "too long": lambda: own(wav(np.zeros(round(8000 * (most_seconds + 1))), 8000, form="FLAC"), REFUSED),
        "too large": lambda: own(bytes(most_bytes + draw.integers(1, 100_000)), REFUSED),
        "too fast": lambda: own(sound(rate=768_000), REFUSED),
        "fast": lambda: own(sound(rate=192_000)),
        "stereo": lambda: own(sound(rate=48_000, channels=2, subtype="PCM_24")),
        "silence": lambda: own(wav(np.zeros(4000))),
    }
