"""The standard input, separated by one query into the standard output."""

import dataclasses
import sys
from collections.abc import Sequence

import audiosep_jax
from audiosep_jax.audio.pcm import SampleFormat
from audiosep_jax.cli.separate.arguments import SeparateArgs
from audiosep_jax.cli.separate.pipe import binary_output, open_input, pass_through
from audiosep_jax.cli.separate.queries import Asked
from audiosep_jax.errors import UsageError
from audiosep_jax.separation import window_plans
from audiosep_jax.separation.live import SoundStream, live_plan
from audiosep_jax.separation.options import Options, checked
from audiosep_jax.separation.presence import absence_warning, judged
from audiosep_jax.separation.presets import Preset


def separate_pipe(args: SeparateArgs, asked: Sequence[Asked], *, preset: Preset, given: Options) -> int:
    """Separates what comes; returns 0.

    Args:
      args: of the command.
      asked: one query.
      preset: "live" hears short windows, others those of files.
      given: how is separated.

    Raises:
      AudioSepError: several queries, or an input that is not sound or ends early; what came is written.
    """
    if len(asked) > 1:
        raise UsageError("The standard output carries one sound: give one query, or --average them into one.")
    raw = None
    if args.rate is not None:
        raw = SampleFormat(
            sample_rate_hz=args.rate,
            channels=1 if args.channels is None else args.channels,
            encoding=args.encoding or "s16le",
        )
    chosen = checked(given)
    with binary_output() as output:
        model = audiosep_jax.load(args.checkpoint)
        reader = open_input(raw)
        config, format = model.config.model, reader.format
        if preset == "live":
            plan = live_plan(config)
        elif preset == "reference":
            plan = window_plans.upstream_plan(config)
        else:
            plan = window_plans.window_plan(config, sys.maxsize)
        stream = SoundStream(
            model,
            query=asked[0].query,
            plan=plan,
            lead=plan.left if preset == "live" else 0,
            channels=format.channels,
            sample_rate_hz=format.sample_rate_hz,
            options=chosen,
        )
        container = args.to or ("wav" if raw is None else "raw")
        going_out = dataclasses.replace(format, encoding=args.encoding or format.encoding)
        pass_through(reader, stream, output, format=going_out, container=container)
    found = judged(stream.level_db(), model.calibration)
    warning = absence_warning(found, asked[0].label)
    if warning is not None:
        print(f"audiosep: warning: {warning}", file=sys.stderr)
    return 0
