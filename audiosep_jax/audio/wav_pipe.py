"""WAV from a pipe and into one: nothing is sought, and samples are passed on as they come."""

import fcntl
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, Protocol

import numpy as np
from jaxtyping import Float32

from audiosep_jax.audio.pcm import Encoding, SampleFormat
from audiosep_jax.errors import AudioFileError, AudioSepError

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE

# Who streams a WAV cannot know its length, and writes 0 or about as much as fits (sox: 2^31 less a header).
_UNKNOWN_FROM = 0x7FFF_0000

_LONGEST_FORMAT_CHUNK = 4096
_READ_BYTES = 1 << 16


class Source(Protocol):
    """A buffered stream of bytes, such as `sys.stdin.buffer`."""

    def read1(self, size: int, /) -> bytes:
        """Returns what is there, at most `size` bytes; waits only where nothing is; b"" is the end."""
        ...


class PipeReader:
    """Samples that arrive through a pipe, as WAV or bare.

    Attributes:
      format: of the samples; as the header says where there is one.
      samples: per channel, as the header promises; None where nobody knows.

    Args:
      source: where the bytes come from.
      raw: the format of samples that come without a header; None expects WAV.

    Raises:
      AudioSepError: nothing comes, or no WAV that can be read.
    """

    def __init__(self, source: Source, *, raw: SampleFormat | None = None) -> None:
        self._source, self._rest = source, b""
        if raw is not None:
            self.format, self.samples, self._bytes = raw, None, None
            return
        self.format, size = self._header()
        unknown = size == 0 or _UNKNOWN_FROM <= size < 2**32
        self._bytes = None if unknown else size
        self.samples = None if self._bytes is None else self._bytes // self.format.frame_bytes

    def blocks(self) -> Iterator[Float32[np.ndarray, "channels samples"]]:
        """Yields the samples as they come.

        Raises:
          AudioSepError: a sample is not finite; or, once all that came is yielded, the end came within a
            sample, before the header said, or before the first sample.
        """
        frame, missing, came = self.format.frame_bytes, self._bytes, 0
        waiting = b""
        while missing is None or missing > 0:
            data = self._some()
            if not data:
                break
            if missing is not None:
                data = data[:missing]
                missing -= len(data)
            waiting += data
            whole = len(waiting) // frame * frame
            if whole:
                came += whole // frame
                block, waiting = waiting[:whole], waiting[whole:]
                yield self.format.decode(block)
        if came == 0:
            raise AudioFileError("The input holds no samples: send sound.")
        if missing and self.samples is not None:
            raise AudioFileError(
                f"The input ended after {came} of {self.samples} samples: what came is separated, the rest "
                "is missing."
            )
        if waiting:
            raise AudioFileError(
                f"The input ended within a sample ({len(waiting)} of {frame} bytes): what came before is "
                "separated; check the rate, the channels and the encoding."
            )

    def _some(self) -> bytes:
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        return self._source.read1(_READ_BYTES)

    def _exactly(self, size: int) -> bytes:
        """Returns the next bytes, fewer only at the end."""
        data = self._rest
        while len(data) < size and (more := self._source.read1(_READ_BYTES)):
            data += more
        data, self._rest = data[:size], data[size:]
        return data

    def _header(self) -> tuple[SampleFormat, int]:
        """Reads up to the first sample; returns the format and the bytes of the samples."""
        start = self._exactly(12)
        if not start:
            raise AudioFileError("Nothing came on the standard input: send WAV, or raw samples and --rate.")
        if start[:4] not in (b"RIFF", b"RF64", b"BW64") or start[8:] != b"WAVE":
            raise AudioFileError(
                "The standard input is not WAV: convert it, for example with ffmpeg -i IN -f wav -, or say "
                "what raw samples are with --rate, --channels and --encoding."
            )
        found, long_size = None, None
        while True:
            head = self._exactly(8)
            if len(head) < 8:
                raise _cut_off()
            name, size = struct.unpack("<4sI", head)
            if name == b"data":
                if found is None:
                    raise _damaged()
                return found, size if size != 0xFFFF_FFFF or long_size is None else long_size
            if name in (b"fmt ", b"ds64"):
                chunk = self._chunk(size)
                if name == b"fmt ":
                    found = _format(chunk)
                elif len(chunk) >= 16:
                    long_size = struct.unpack_from("<Q", chunk, 8)[0]
            else:
                self._skip(size + size % 2)

    def _chunk(self, size: int) -> bytes:
        if size > _LONGEST_FORMAT_CHUNK:
            raise _damaged()
        chunk = self._exactly(size + size % 2)
        if len(chunk) < size:
            raise _cut_off()
        return chunk

    def _skip(self, size: int) -> None:
        while size:
            part = self._exactly(min(size, _READ_BYTES))
            if not part:
                raise _cut_off()
            size -= len(part)


def _damaged() -> AudioSepError:
    return AudioFileError("The WAV on the standard input has a damaged header: send a complete one.")


def _cut_off() -> AudioSepError:
    return AudioFileError("The WAV on the standard input ended before its first sample: send a complete one.")


def _format(chunk: bytes) -> SampleFormat:
    if len(chunk) < 16:
        raise _damaged()
    tag, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        tag = struct.unpack_from("<H", chunk, 24)[0]
    encodings: dict[tuple[int, int], Encoding] = {
        (_PCM, 8): "u8",
        (_PCM, 16): "s16le",
        (_PCM, 24): "s24le",
        (_PCM, 32): "s32le",
        (_FLOAT, 32): "f32le",
        (_FLOAT, 64): "f64le",
    }
    if (tag, bits) not in encodings or align != channels * bits // 8:
        raise AudioFileError(
            f"The WAV on the standard input is of format {tag} with {bits} bits, which a pipe cannot carry "
            f"here: send PCM of 8, 16, 24 or 32 bits, or floating point of 32 or 64 bits."
        )
    return SampleFormat(sample_rate_hz=rate, channels=channels, encoding=encodings[tag, bits])


def wav_header(format: SampleFormat, samples: int | None) -> bytes:
    """Returns what stands before the samples of a WAV.

    Args:
      format: of the samples.
      samples: per channel; None where nobody knows, or more than the header can count, say "until the end".
    """
    size = None if samples is None else samples * format.frame_bytes
    chunk = _fmt(_FLOAT if format.floating else _PCM, format)
    before = 4 + 8 + len(chunk) + 8
    if size is None or before + size + size % 2 >= _UNKNOWN_FROM:
        riff, data = 0xFFFF_FFFF, 0xFFFF_FFFF
    else:
        riff, data = before + size + size % 2, size
    return (
        struct.pack("<4sI4s", b"RIFF", riff, b"WAVE")
        + struct.pack("<4sI", b"fmt ", len(chunk))
        + chunk
        + struct.pack("<4sI", b"data", data)
    )


def _fmt(tag: int, format: SampleFormat) -> bytes:
    bytes_per_second = format.sample_rate_hz * format.frame_bytes
    return struct.pack(
        "<HHIIHH",
        tag,
        format.channels,
        format.sample_rate_hz,
        min(bytes_per_second, 0xFFFF_FFFF),
        format.frame_bytes,
        format.bits,
    )


class PipeWriter:
    """Samples that leave through a pipe; every block is on its way when `write` returns.

    Args:
      target: an unbuffered or buffered binary stream.
      format: of the samples.
      wav: with a header, which is written at once.
      samples: per channel, if known.
    """

    def __init__(
        self, target: BinaryIO, *, format: SampleFormat, wav: bool, samples: int | None = None
    ) -> None:
        self._target, self._format, self._wav = target, format, wav
        self._promised, self.samples = samples, 0
        self._start = target.tell() if wav and _changeable(target) else None
        if wav:
            target.write(wav_header(format, samples))
            target.flush()

    def write(self, waveform: Float32[np.ndarray, "channels samples"]) -> None:
        """Writes samples."""
        if waveform.shape[1]:
            self._target.write(self._format.encode(waveform))
            self._target.flush()
            self.samples += waveform.shape[1]

    def finish(self) -> None:
        """Ends the file: where what is written can be changed, the header gets the length that it has."""
        if not self._wav:
            return
        if self.samples * self._format.frame_bytes % 2 and self._promised is not None:
            self._target.write(b"\0")
        if self.samples != self._promised:
            self.mend()
        self._target.flush()

    def mend(self) -> None:
        """Gives the header the length of what is written, if that can be done; also in the middle of it."""
        if self._start is None:
            return
        end = self._target.tell()
        size = len(wav_header(self._format, self._promised))
        samples = (end - self._start - size) // self._format.frame_bytes
        self._target.seek(self._start)
        self._target.write(wav_header(self._format, samples))
        self._target.seek(end)
        self._target.flush()


def _changeable(target: BinaryIO) -> bool:
    try:
        appending = fcntl.fcntl(target.fileno(), fcntl.F_GETFL) & os.O_APPEND
        return target.seekable() and not appending
    except OSError:
        return False
