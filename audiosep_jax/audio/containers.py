"""What libsndfile does not report: formats by suffix, bits of an encoding, truncated files."""

import io
import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audiosep_jax.errors import AudioFileError, AudioSepError, printable

FORMATS = {
    ".wav": "WAV",
    ".flac": "FLAC",
    ".ogg": "OGG",
    ".mp3": "MP3",
    ".aiff": "AIFF",
    ".aif": "AIFF",
    ".w64": "W64",
    ".rf64": "RF64",
}


def format_for(path: str | Path, subtype: str | None = None) -> tuple[str, str]:
    """Chooses libsndfile's format and subtype for a destination.

    Raises:
      AudioFileError: the suffix is unknown, or its format cannot hold the subtype.
    """
    path = Path(path)
    container = FORMATS.get(path.suffix.lower())
    if container is None:
        raise AudioFileError(
            f"{printable(path)} has no suffix of a known sound format: use one of {', '.join(FORMATS)}."
        )
    subtype = subtype or soundfile.default_subtype(container)
    if subtype is None or not soundfile.check_format(container, subtype):
        raise AudioFileError(f"{printable(path)} cannot hold {subtype}: use a .wav file.")
    return container, subtype


class SequentialFile(soundfile.SoundFile):
    """A sound file that python-soundfile treats as a pipe, although `seek` works."""

    def __init__(self, file: str | Path | io.BytesIO, mode: str = "r", **given: Any) -> None:
        # As bytes, because python-soundfile cannot encode names that are not text.
        named = os.fsencode(file) if isinstance(file, str | Path) else file
        super().__init__(named, mode, **given)  # pyright: ignore[reportArgumentType]

    def seekable(self) -> bool:
        """Always False."""
        # python-soundfile seeks after every read and write of a seekable file. At the end of a FLAC that is
        # shorter than its header says, that fails and hides the samples before the end.
        return False


def open_sound(source: str | io.BytesIO, name: str) -> SequentialFile:
    """Opens a file, or bytes, for reading.

    Raises:
      AudioFileError: it is not sound.
    """
    unknown = AudioFileError(f"{name} is not a sound file that can be decoded: give WAV, FLAC, OGG or MP3.")
    try:
        file = SequentialFile(source)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a .raw file has no header
        raise unknown from error
    if file.format == "RAW":
        # Without a header libsndfile goes by the suffix: a text named .au or .gsm would decode to noise.
        file.close()
        raise unknown
    return file


def truncated(name: str, why: object = "") -> AudioFileError:
    """Returns the error for sound that ends too early or cannot be decoded."""
    why = f" ({str(why).rstrip('. ')})" if why else ""
    return AudioFileError(f"{name} is truncated or damaged{why}: get a complete copy of the file.")


def log_promises_more(log: str) -> bool:
    """Whether libsndfile's log says that a file is shorter than its header.

    libsndfile shortens `frames` to the size of the file, and only its log says so. A length of 4,294,967,295
    does not count: programs that stream a WAV into a pipe write it.
    """
    for promised, actual in re.findall(
        r"^\s*(?:data|SSND|riff|Data Size)\s*: (\d+) \(should be (\d+)\)", log, re.M
    ):
        if int(actual) < int(promised) != 0xFFFFFFFF:
            return True
    short = re.search(r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)", log)
    return short is not None and int(short[1]) < int(short[2])


def ogg_cut_off(file: io.BufferedReader) -> bool:
    """Whether a file is an Ogg stream whose last page is missing or incomplete.

    Ogg has no length in its header, but marks its last page (RFC 3533). Its longest page has 65,307 bytes.
    """
    if file.read(4) != b"OggS":
        return False
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 2 * 65_307))
    tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0 or len(tail) < page + 27:
        return True
    flags, segments = struct.unpack_from("<B20xB", tail, page + 5)
    table = tail[page + 27 : page + 27 + segments]
    return not flags & 4 or len(table) < segments or len(tail) < page + 27 + segments + sum(table)


def ends_well(path: Path, samples: int) -> bool:
    """Whether a file that was just written holds its last sample."""
    try:
        with path.open("rb") as file:
            cut_off = ogg_cut_off(file)
        with open_sound(str(path), printable(path)) as file:
            if cut_off or log_promises_more(file.extra_info) or file.frames < samples:
                return False
            file.seek(samples - 1)
            return len(file.read(1, always_2d=True)) == 1
    except (AudioSepError, soundfile.LibsndfileError):
        return False


def missing_samples_allowed(format_name: str, path: Path) -> float:
    """How many samples fewer than the header says a complete file may decode to.

    This is zero, except for MP3: without an Info tag its length is only estimated from the bit rate, and a
    tag may count the decoder's delay.
    """
    if format_name != "MP3":
        return 0
    with path.open("rb") as file:
        head = file.read(10)
        file.seek(_id3_bytes(head) if head[:3] == b"ID3" else 0)
        tagged = re.search(rb"Xing|Info|VBRI", file.read(4096))
    return 2 * 1152 if tagged else np.inf


def _id3_bytes(head: bytes) -> int:
    # ID3v2: the size is four bytes of seven bits each.
    return 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
