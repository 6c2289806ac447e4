"""WAV files whose bytes are a function of their samples, without dates or names of programs."""

import struct
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int16

from audiosep_jax.errors import AudioFileError
from audiosep_jax.utils.atomic import replacing

_PCM, _FLOAT = 1, 3


def wav_bytes(
    samples: Int16[np.ndarray, " samples"] | Float32[np.ndarray, " samples"], *, sample_rate_hz: int
) -> bytes:
    """Returns a mono WAV file.

    IBM & Microsoft, "Multimedia Programming Interface and Data Specifications", 1991.

    Args:
      samples: `[samples]`, int16 or float32, which decides the encoding.
      sample_rate_hz: samples per second.

    Raises:
      AudioSepError: the file would exceed 4 GB.
    """
    samples = np.ascontiguousarray(samples, samples.dtype.newbyteorder("<"))
    width, is_float = samples.itemsize, samples.dtype.kind == "f"
    form = struct.pack(
        "<HHIIHH", _FLOAT if is_float else _PCM, 1, sample_rate_hz, sample_rate_hz * width, width, 8 * width
    )
    chunks = [(b"fmt ", form + b"\0\0" if is_float else form)]
    if is_float:
        chunks.append((b"fact", struct.pack("<I", len(samples))))
    chunks.append((b"data", samples.tobytes()))
    size = 4 + sum(8 + len(content) for _, content in chunks)
    if size >= 1 << 32:
        raise AudioFileError("a mixture would exceed the 4 GB that WAV can hold: make shorter ones.")
    parts = [b"RIFF", struct.pack("<I", size), b"WAVE"]
    for name, content in chunks:
        parts += [name, struct.pack("<I", len(content)), content]
    return b"".join(parts)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file, or nothing.

    Raises:
      AudioSepError: it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)
