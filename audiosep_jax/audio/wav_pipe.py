"""Reads WAV or raw samples from a pipe and writes them into a pipe, as they arrive and without seeking."""

import fcntl
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, Protocol

import numpy as np
from jaxtyping import Float32

from audiosep_jax.audio.pcm import SIZES, Encoding, SampleFormat
from audiosep_jax.errors import AudioFileError

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_ENCODINGS: dict[tuple[int, int], Encoding] = {
    (_FLOAT if name.startswith("f") else _PCM, 8 * size): name for name, size in SIZES.items()
}

# Programs that stream a WAV do not know its length: they write 0 or the most that fits (sox: 2^31 - header).
_UNKNOWN_FROM = 0x7FFF_0000

_LONGEST_FORMAT_CHUNK = 4096
_READ_BYTES = 1 << 16


class Source(Protocol):
    """A buffered stream of bytes, such as `sys.stdin.buffer`."""

    def read1(self, size: int, /) -> bytes:
        """Returns up to `size` bytes that have arrived; waits only if there are none; b"" is the end."""
        ...


class PipeReader:
    """Reads samples from a pipe, as WAV or, if their format is given as `raw`, without a header.

    Attributes:
      format: of the samples; from the header if there is one.
      samples: per channel, as the header says; None if that is unknown.

    Raises:
      AudioFileError: the input is empty, or not a WAV that can be read.
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
        """Yields the samples as they arrive.

        Raises:
          AudioFileError: a sample is not finite. Or, after all samples, the input ended within a sample,
            before the end in the header, or before the first sample.
        """
        frame, missing, count = self.format.frame_bytes, self._bytes, 0
        waiting = b""
        while missing is None or missing > 0:
            data, self._rest = self._rest or self._source.read1(_READ_BYTES), b""
            if not data:
                break
            if missing is not None:
                data = data[:missing]
                missing -= len(data)
            waiting += data
            whole = len(waiting) // frame * frame
            if whole:
                count += whole // frame
                block, waiting = waiting[:whole], waiting[whole:]
                yield self.format.decode(block)
        if count == 0:
            raise AudioFileError("The input holds no samples: send sound.")
        if missing and self.samples is not None:
            raise AudioFileError(
                f"The input ended after {count} of {self.samples} samples: only these were separated. Send "
                "all samples."
            )
        if waiting:
            raise AudioFileError(
                f"The input ended within a sample ({len(waiting)} of {frame} bytes): the samples before were "
                "separated; check --channels and --encoding."
            )

    def _exactly(self, size: int) -> bytes:
        """Returns the next bytes, fewer only at the end of the input."""
        data = self._rest
        while len(data) < size and (more := self._source.read1(_READ_BYTES)):
            data += more
        data, self._rest = data[:size], data[size:]
        return data

    def _header(self) -> tuple[SampleFormat, int]:
        """Reads up to the first sample; returns the format of the samples and their size in bytes."""
        start = self._exactly(12)
        if not start:
            raise AudioFileError("The standard input is empty: send WAV, or raw samples and --rate.")
        if start[:4] not in (b"RIFF", b"RF64", b"BW64") or start[8:] != b"WAVE":
            raise AudioFileError(
                "The standard input is not WAV: convert it, for example with ffmpeg -i IN -f wav -, or "
                "describe raw samples with --rate, --channels and --encoding."
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


def _damaged() -> AudioFileError:
    return AudioFileError("The WAV on the standard input has a damaged header: send a complete one.")


def _cut_off() -> AudioFileError:
    return AudioFileError("The WAV on the standard input ended before its first sample: send a complete one.")


def _format(chunk: bytes) -> SampleFormat:
    if len(chunk) < 16:
        raise _damaged()
    tag, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        tag = struct.unpack_from("<H", chunk, 24)[0]
    if (tag, bits) not in _ENCODINGS or align != channels * bits // 8:
        raise AudioFileError(
            f"The WAV on the standard input is of format {tag} with {bits} bits, which is not supported: "
            "send PCM of 8, 16, 24 or 32 bits, or floating point of 32 or 64 bits."
        )
    return SampleFormat(sample_rate_hz=rate, channels=channels, encoding=_ENCODINGS[tag, bits])


def wav_header(format: SampleFormat, samples: int | None) -> bytes:
    """Returns the header of a WAV with so many samples per channel, up to its first sample.

    For None, or more samples than the header can count, it says "until the end".
    """
    before = 36  # bytes after the RIFF size and before the samples
    size = None if samples is None else samples * format.frame_bytes
    if size is None or before + size + size % 2 >= _UNKNOWN_FROM:
        riff, data = 0xFFFF_FFFF, 0xFFFF_FFFF
    else:
        riff, data = before + size + size % 2, size
    tag, rate = _FLOAT if format.floating else _PCM, format.sample_rate_hz
    bytes_per_second = min(rate * format.frame_bytes, 0xFFFF_FFFF)
    sample = tag, format.channels, rate, bytes_per_second, format.frame_bytes, format.bits
    return (
        struct.pack("<4sI4s", b"RIFF", riff, b"WAVE")
        + struct.pack("<4sIHHIIHH", b"fmt ", 16, *sample)
        + struct.pack("<4sI", b"data", data)
    )


class PipeWriter:
    """Writes samples into a pipe; `write` returns when its block is flushed.

    With `wav` it writes a header at once, which says the number of samples per channel, if it is known.
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
        """Ends the output. If it is a file, its header gets the length that was written."""
        if not self._wav:
            return
        if self.samples * self._format.frame_bytes % 2 and self._promised is not None:
            self._target.write(b"\0")
        if self.samples != self._promised:
            self.mend()
        self._target.flush()

    def mend(self) -> None:
        """Writes the length so far into the header if the output is a file; more samples may follow."""
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
