"""`audiosep separate -`: sound in at the standard input, the described sound out at the standard output."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO, Literal, Protocol

import numpy as np

from audiosep_jax.audio.pcm import SampleFormat
from audiosep_jax.audio.wav_pipe import PipeReader, PipeWriter
from audiosep_jax.errors import AudioSepError, UsageError
from audiosep_jax.utils.signals import Terminated

Container = Literal["wav", "raw"]


class Stream(Protocol):
    """A mixture in, the sound of one query out, of the same length when joined."""

    def push(self, mixture: np.ndarray) -> np.ndarray:
        """Takes `[channels, samples]`, returns what is finished."""
        ...

    def flush(self) -> np.ndarray:
        """Returns the rest."""
        ...


@contextlib.contextmanager
def binary_output() -> Iterator[BinaryIO]:
    """Gives the standard output as bytes; what anything else prints meanwhile goes to the standard error.

    Raises:
      AudioSepError: it is a terminal.
    """
    sys.stdout.flush()
    try:
        number = sys.stdout.fileno()
    except OSError:  # somebody reads along within the process, as tests do
        yield sys.stdout.buffer
        return
    if os.isatty(number):
        raise UsageError(
            "The standard output is a terminal: write sound into a file or a pipe, as in … > dog.wav."
        )
    private = os.dup(number)
    os.dup2(2, number)
    try:
        with os.fdopen(private, "wb", closefd=False) as output:
            yield output
    finally:
        # The buffers of Python and of libraries end at the standard error, too.
        sys.stdout.flush()
        os.dup2(private, number)
        os.close(private)


def open_input(raw: SampleFormat | None) -> PipeReader:
    """Opens the standard input.

    Raises:
      AudioSepError: it is a terminal or closed, or what comes is not WAV.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise UsageError("There is no standard input: send sound into the command, as in … < street.wav.")
    if sys.stdin.isatty():
        raise UsageError(
            "The standard input is a terminal: send sound into the command, as in … < street.wav."
        )
    return PipeReader(sys.stdin.buffer, raw=raw)  # pyright: ignore[reportArgumentType]


def pass_through(
    reader: PipeReader, stream: Stream, output: BinaryIO, *, format: SampleFormat, container: Container
) -> int:
    """Separates as the samples come; returns how many went out per channel.

    All that came is separated and written, even where it ends with an error.

    Raises:
      AudioSepError: as `PipeReader.blocks`.
      BrokenPipeError: nobody reads the output any more.
    """
    writer = PipeWriter(output, format=format, wav=container == "wav", samples=reader.samples)
    blocks, early, came = reader.blocks(), None, False
    try:
        while True:
            try:
                block = next(blocks, None)
            except AudioSepError as error:
                early = error
                break
            if block is None:
                break
            came = True
            writer.write(stream.push(block))
        if came:
            writer.write(stream.flush())
    except (KeyboardInterrupt, Terminated):
        writer.mend()
        raise
    writer.finish()
    if early is not None:
        raise early
    return writer.samples
