"""What nobody should upload, and who does: drawn from a seed, with what has to become of it."""

import dataclasses
import struct
from collections.abc import Callable

import numpy as np
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
      seconds: of a sound that is all right; None if it has to be refused, -1 if both will do.
    """

    kind: str
    content: bytes
    name: str
    query: str
    without: str
    seconds: float | None


def cases(count, seed, *, most_bytes, most_seconds):
    """Yields cases; their kinds, names and sentences come in turn, everything else is drawn."""
    draw = np.random.default_rng(seed)
    kinds = list(_kinds(draw, most_bytes, most_seconds).items())
    for number in range(count):
        kind, make = kinds[number % len(kinds)]
        content, seconds = make()
        query, without = QUERIES[draw.integers(len(QUERIES))], ""
        if draw.random() < 0.5:
            query = QUERIES[0]
        if draw.random() < 0.3:
            without = QUERIES[draw.integers(len(QUERIES))]
        yield Case(kind, content, NAMES[draw.integers(len(NAMES))], query, without, seconds)


def _kinds(draw, most_bytes, most_seconds) -> dict[str, Callable[[], tuple[bytes, float | None]]]:
    def sound(**given):
        return wav(noise(draw.uniform(0.05, 0.4), seed=draw.integers(1 << 30)), **given)

    def right(rate=16_000, channels=None, seconds=0.2, subtype="PCM_16", form="WAV"):
        waveform = noise(seconds, rate, channels=channels, seed=draw.integers(1 << 30))
        return wav(waveform, rate, subtype, form), waveform.shape[-1] / rate

    def cut(content):
        return content[: draw.integers(1, len(content))], None if content[:4] == b"RIFF" else -1

    def flipped():
        content = bytearray(sound())
        for place in draw.integers(0, 60, size=8):
            content[place] ^= 1 << draw.integers(8)
        return bytes(content), -1

    def spoiled(value):
        waveform = noise(0.2)
        waveform[draw.integers(len(waveform))] = value
        return wav(waveform, subtype="FLOAT"), None

    def promises(seconds):
        size = min(2**32 - 100, round(seconds * 16_000) * 2)
        form = struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
        head = b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + struct.pack("<I", len(form)) + form
        head += b"data" + struct.pack("<I", size)
        return head + bytes(draw.integers(0, 4000)), None

    return {
        "text": lambda: (b"a dog barking, written down\n" * draw.integers(1, 50), None),
        "nothing": lambda: (b"", None),
        "random": lambda: (draw.bytes(draw.integers(1, 5000)), None),
        "riff and nothing": lambda: (b"RIFF" + draw.bytes(draw.integers(0, 60)), None),
        "cut wav": lambda: cut(sound()),
        "cut flac": lambda: cut(sound(form="FLAC")),
        "cut ogg": lambda: cut(sound(form="OGG", subtype="VORBIS")),
        "cut mp3": lambda: cut(sound(form="MP3", subtype="MPEG_LAYER_III")),
        "flipped": flipped,
        "nan": lambda: spoiled(np.nan),
        "infinite": lambda: spoiled(-np.inf),
        "no samples": lambda: (wav(np.zeros(0)), None),
        "one sample": lambda: (wav(noise(1 / 16_000)), 1 / 16_000),
        "ten hours promised": lambda: promises(36_000),
        "ten hours": lambda: (wav(np.zeros(100 * 36_000), 100, form="FLAC"), None),
        "too long": lambda: (wav(np.zeros(round(8000 * (most_seconds + 1))), 8000, form="FLAC"), None),
        "too large": lambda: (bytes(most_bytes + draw.integers(1, 100_000)), None),
        "slow": lambda: right(rate=8000),
        "fast": lambda: right(rate=192_000),
        "too fast": lambda: (right(rate=768_000)[0], None),
        "odd rate": lambda: right(rate=int(draw.integers(1000, 100_000))),
        "32 channels": lambda: right(channels=32, seconds=0.05),
        "stereo": lambda: right(rate=48_000, channels=2, subtype="PCM_24"),
        "silence": lambda: (wav(np.zeros(4000)), 0.25),
        "loud": lambda: (wav(1e6 * noise(0.2), subtype="FLOAT"), 0.2),
    }
