"""`audiosep separate -`: separates the standard input into the standard output."""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Literal

import audiosep_jax
from audiosep_jax.audio.pcm import SampleFormat
from audiosep_jax.audio.wav_pipe import PipeReader, PipeWriter
from audiosep_jax.cli.separate.arguments import SeparateArgs
from audiosep_jax.cli.separate.queries import NamedQuery
from audiosep_jax.errors import AudioSepError, UsageError
from audiosep_jax.separation.live import SoundStream, live_plan
from audiosep_jax.separation.options import Options, Preset
from audiosep_jax.separation.presence import absence_warning, judged
from audiosep_jax.separation.scale import scale_warning
from audiosep_jax.separation.window_plans import upstream_plan, window_plan
from audiosep_jax.utils.signals import Terminated

Container = Literal["wav", "raw"]


def separate_pipe(
    args: SeparateArgs, queries: Sequence[NamedQuery], *, preset: Preset, options: Options
) -> int:
    """Separates the standard input by one query into the standard output; returns 0.

    The preset "live" has short windows, the others have those of files.

    Raises:
      UsageError: several queries, or a terminal as input or output.
      AudioSepError: the input is not sound or ends early; the sound before the end is written.
    """
    if len(queries) > 1:
        raise UsageError("The standard output carries one sound: give one query, or --average them into one.")
    (query,) = queries
    raw = None
    if args.rate is not None:
        raw = SampleFormat(
            sample_rate_hz=args.rate,
            channels=1 if args.channels is None else args.channels,
            encoding=args.encoding or "s16le",
        )
    with binary_output() as output:
        model = audiosep_jax.load(args.checkpoint)
        reader = open_input(raw)
        config, format = model.config.model, reader.format
        if preset == "live":
            plan = live_plan(config)
        elif preset == "reference":
            plan = upstream_plan(config)
        else:
            plan = window_plan(config, sys.maxsize)
        stream = SoundStream(
            model,
            query=query.query,
            plan=plan,
            lead=plan.left if preset == "live" else 0,
            channels=format.channels,
            sample_rate_hz=format.sample_rate_hz,
            options=options,
        )
        container = args.to or ("wav" if raw is None else "raw")
        output_format = dataclasses.replace(format, encoding=args.encoding or format.encoding)
        pass_through(reader, stream, output, format=output_format, container=container)
    absent = absence_warning(judged(stream.level_db(), model.calibration), query.label)
    for warning in (absent, scale_warning(stream.peak)):
        if warning is not None:
            print(f"audiosep: warning: {warning}", file=sys.stderr)
    return 0


@contextlib.contextmanager
def binary_output() -> Iterator[BinaryIO]:
    """Gives the standard output as bytes. Other prints go to the standard error meanwhile.

    Raises:
      UsageError: the standard output is a terminal.
    """
    sys.stdout.flush()
    try:
        number = sys.stdout.fileno()
    except OSError:  # an object of this process stands in for it, as in tests
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
        # Prints that are still buffered go to the standard error, too.
        sys.stdout.flush()
        os.dup2(private, number)
        os.close(private)


def open_input(raw: SampleFormat | None) -> PipeReader:
    """Opens the standard input.

    Raises:
      UsageError: it is a terminal or closed.
      AudioFileError: it is not WAV, and no raw format was given.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise UsageError("There is no standard input: send sound into the command, as in … < street.wav.")
    if sys.stdin.isatty():
        raise UsageError(
            "The standard input is a terminal: send sound into the command, as in … < street.wav."
        )
    return PipeReader(sys.stdin.buffer, raw=raw)  # pyright: ignore[reportArgumentType]


def pass_through(
    reader: PipeReader, stream: SoundStream, output: BinaryIO, *, format: SampleFormat, container: Container
) -> int:
    """Separates samples as they arrive; returns how many were written per channel.

    All samples before an error are separated and written.

    Raises:
      AudioSepError: as `PipeReader.blocks`.
      BrokenPipeError: the reader of the output has ended.
    """
    writer = PipeWriter(output, format=format, wav=container == "wav", samples=reader.samples)
    blocks, input_error, any_samples = reader.blocks(), None, False
    try:
        while True:
            try:
                block = next(blocks, None)
            except AudioSepError as error:
                input_error = error
                break
            if block is None:
                break
            any_samples = True
            writer.write(stream.push(block))
        if any_samples:
            writer.write(stream.flush())
    except (KeyboardInterrupt, Terminated):
        writer.mend()
        raise
    writer.finish()
    if input_error is not None:
        raise input_error
    return writer.samples
