"""Files that are no sound, hardly sound, or unusual sound, drawn from a seed; for command and page."""

import dataclasses
import io
import struct
from pathlib import Path

import numpy as np
import soundfile

RIGHT, REFUSED, EITHER = "right", "refused", "either"


SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".w64", ".au", ".caf", ".raw", "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A command line in a folder of its own.

    Attributes:
      kind: for messages.
      arguments: behind `audiosep separate`.
      sounds: the files that have to be separated, where that is right.
      expected: whether it has to succeed, to be refused with a sentence, or may be either.
      stdin: what comes through the pipe, if anything.
      queries: results per sound.
    """

    kind: str
    arguments: tuple[str, ...]
    expected: str
    sounds: tuple[Path, ...] = ()
    stdin: bytes | None = None
    queries: int = 1


def noise(draw, samples, channels=1):
    return (draw.normal(size=(samples, channels)) * 0.1).clip(-0.99, 0.99)


def sound(draw, *, samples=None, rate=8000, channels=1, subtype="PCM_16", form="WAV", level=1.0) -> bytes:
    samples = int(draw.integers(200, 2500)) if samples is None else samples
    file = io.BytesIO()
    soundfile.write(file, noise(draw, samples, channels) * level, rate, subtype=subtype, format=form)
    return file.getvalue()


def case(place: Path, content: bytes, expected: str, *, name="in.wav", more=(), query="a dog") -> Case:
    path = place / name
    path.write_bytes(content)
    given = f"./{name}"
    return Case(
        kind="",
        arguments=(given, "--query", query, *more),
        expected=expected,
        sounds=(path,) if expected != REFUSED else (),
    )


def header(*, riff=b"RIFF", tag=1, channels=1, rate=8000, bits=16, data=0, align=None) -> bytes:
    align = min(channels * bits // 8, 65_535) if align is None else align
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", riff, min(data + 36, 2**32 - 1), b"WAVE", b"fmt ", 16, tag, channels, rate,
        min(rate * align, 2**32 - 1), align, bits, b"data", data,
    )  # fmt: skip


def cut(form, subtype):
    def make(draw, place):
        whole = sound(draw, form=form, subtype=subtype)
        size = int(draw.integers(0, 60)) if draw.random() < 0.4 else int(draw.integers(len(whole)))
        # An MP3 or FLAC may be cut between two frames, and then nothing tells.
        return case(place, whole[:size], REFUSED if form == "WAV" else EITHER)

    return make


def flipped(form, subtype):
    def make(draw, place):
        data = bytearray(sound(draw, form=form, subtype=subtype))
        for place_ in draw.integers(0, min(len(data), int(draw.choice([60, 5000]))), size=6):
            data[place_] ^= 1 << int(draw.integers(8))
        return case(place, bytes(data), EITHER)

    return make


def encoded(draw, place):
    form, subtype = [
        ("WAV", "PCM_U8"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"), ("WAV", "DOUBLE"),
        ("WAV", "ULAW"), ("WAV", "ALAW"), ("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("WAVEX", "PCM_24"),
        ("RF64", "PCM_16"), ("W64", "PCM_24"), ("AIFF", "PCM_S8"), ("AIFF", "FLOAT"), ("AU", "PCM_16"),
        ("CAF", "PCM_24"), ("FLAC", "PCM_S8"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ][int(draw.integers(21))]  # fmt: skip
    suffix = {"RF64": ".wav", "WAVEX": ".wav"}.get(form, f".{form.lower()}")
    data = sound(draw, form=form, subtype=subtype, channels=int(draw.integers(1, 3)), samples=4000)
    return case(place, data, RIGHT, name=f"in{suffix}")


def spoiled(draw, place):
    value = draw.choice([np.nan, np.inf, -np.inf, 1e300])
    samples = noise(draw, 1000)
    samples[int(draw.integers(1000))] = value
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, subtype="DOUBLE", format="WAV")
    return case(place, file.getvalue(), REFUSED)


def level(draw, place):
    level = float(draw.choice([0, 1e-30, 1e-6, 10, 1e5, 1e30]))
    return case(place, sound(draw, subtype="FLOAT", level=level), REFUSED if level == 1e30 else RIGHT)


def full_scale(draw, place):
    steps = draw.choice(np.int16([-32768, 32767]), size=(1500, 2))
    file = io.BytesIO()
    soundfile.write(file, steps, 8000, format="WAV")
    return case(place, file.getvalue(), RIGHT)


def short(draw, place):
    samples = int(draw.choice([1, 1, 2, 3, 7, 79, 80, 81, 255, 256]))
    rate = int(draw.choice([8000, 44_100, 96_000]))
    return case(place, sound(draw, samples=samples, rate=rate, channels=int(draw.integers(1, 4))), RIGHT)


def rate(draw, place):
    rate = int(draw.choice([1000, 4000, 7350, 8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200,
                            96_000, 176_400, 192_000, 384_000, 8001, 44_101]))  # fmt: skip
    return case(place, sound(draw, rate=rate, samples=int(draw.integers(1, 4000))), RIGHT)


def absurd_rate(draw, place):
    rate = int(draw.choice([0, 1, 2, 50, 10_000_000, 2**31 - 1, 2**31, 2**32 - 1]))
    return case(
        place, header(rate=rate, data=80) + bytes(80), REFUSED if rate in (0, 2**31, 2**32 - 1) else EITHER
    )


def channels(draw, place):
    channels = int(draw.choice([2, 3, 6, 8, 16, 32, 32, 64, 255]))
    return case(place, sound(draw, channels=channels, samples=int(draw.integers(1, 300))), RIGHT)


def absurd_format(draw, place):
    changes = [
        {"channels": 0}, {"channels": 65535}, {"bits": 0}, {"bits": 7}, {"bits": 65535}, {"tag": 0},
        {"tag": 85}, {"tag": 0xFFFE}, {"align": 0}, {"align": 7}, {"channels": 1025, "bits": 8},
    ]  # fmt: skip
    given = changes[int(draw.integers(len(changes)))]
    return case(place, header(**given, data=3000) + draw.bytes(3000), EITHER)


def promised(draw, place):
    """Ten hours of silence and more that are not there."""
    hours = float(draw.choice([10, 1, 0.1]))
    kind = int(draw.integers(4))
    come = draw.bytes(int(draw.choice([0, 1, 2000])))
    if kind == 0:
        return case(place, header(data=min(int(hours * 3600 * 16_000), 2**32 - 100)) + come, REFUSED)
    if kind == 1:  # RF64: the length stands in another chunk, in 64 bits
        size = int(draw.choice([10 * 3600 * 16_000, 2**40, 2**62, 2**63 + 5]))
        ds64 = struct.pack("<4sIQQQI", b"ds64", 28, size & (2**64 - 1), size, size // 2, 0)
        long = header(riff=b"RF64", data=2**32 - 1)
        return case(place, long[:12] + ds64 + long[12:] + come, EITHER if come else REFUSED)
    if kind == 2:  # FLAC: 36 bits of samples
        info = struct.pack(">HH", 4096, 4096) + bytes(6)
        info += ((8000 << 44) | (15 << 36) | (2**36 - 1)).to_bytes(8, "big") + bytes(16)
        return case(place, b"fLaC\x80\0\0\x22" + info + come, REFUSED, name="in.flac")
    aiff = b"FORM\xff\xff\xff\xffAIFFCOMM\0\0\0\x12\0\x01\xff\xff\xff\xff\0\x10\x40\x0b\xfa\0\0\0\0\0\0\0"
    return case(place, aiff + b"SSND\xff\xff\xff\xf0" + bytes(8) + come, REFUSED, name="in.aiff")


def streamed(draw, place):
    """What ffmpeg and others write into a pipe, and somebody kept."""
    come = (noise(draw, 900) * 32767).astype("<i2").tobytes()
    return case(place, header(data=2**32 - 1) + come, RIGHT)


def text(draw, place):
    data = str(
        draw.choice(["a dog barking\n" * 40, "<html></html>", "{}", "RIFF", "RIFFWAVE", "\ufeff"])
    ).encode()
    return case(place, data, REFUSED, name=f"in{draw.choice(SUFFIXES)}")


def random_bytes(draw, place):
    starts = [
        b"",
        b"RIFF",
        b"fLaC",
        b"OggS",
        b"\xff\xfb\x90",
        b"ID3\x04",
        b"FORM",
        b"caff",
        b".snd",
        b"riff\x2e\x91",
    ]
    data = starts[int(draw.integers(len(starts)))] + draw.bytes(int(draw.integers(0, 4000)))
    return case(place, data, EITHER, name=f"in{draw.choice(SUFFIXES)}")


# Functions of a generator and an empty folder, in which they write a file.
KINDS = {
    "cut WAV": cut("WAV", "PCM_16"),
    "cut FLAC": cut("FLAC", "PCM_16"),
    "cut OGG": cut("OGG", "VORBIS"),
    "cut MP3": cut("MP3", "MPEG_LAYER_III"),
    "flipped bits of WAV": flipped("WAV", "PCM_16"),
    "flipped bits of FLAC": flipped("FLAC", "PCM_24"),
    "flipped bits of AIFF": flipped("AIFF", "FLOAT"),
    "encoding": encoded,
    "NaN, infinite, huge": spoiled,
    "level": level,
    "full scale": full_scale,
    "no sample": lambda draw, place: case(place, header(), REFUSED),
    "few samples": short,
    "rate": rate,
    "absurd rate": absurd_rate,
    "channels": channels,
    "absurd format": absurd_format,
    "promised length": promised,
    "streamed header": streamed,
    "text": text,
    "random bytes": random_bytes,
    "empty file": lambda draw, place: case(place, b"", REFUSED),
}
