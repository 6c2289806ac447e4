"""`audiosep separate`: separates files, folders or a pipe by queries."""

from pathlib import Path
from typing import Any

from audiosep_jax.cli.separate.arguments import SeparateArgs
from audiosep_jax.errors import UsageError, printable

_PIPE = Path("-")


def run(args: SeparateArgs) -> int:
    """Separates and prints a line per result; returns 2 if any recording failed, else 0."""
    _check(args)
    from audiosep_jax.cli.separate.queries import named_queries
    from audiosep_jax.separation.options import settings_for

    preset = args.preset or ("live" if _PIPE in args.inputs else "standard")
    if args.upstream_windows:
        preset = "reference"
    settings = settings_for(
        preset,
        channel_mask=args.channel_mask,
        high_band=args.high_band,
        level=args.level,
        paraphrase=args.paraphrase,
    )
    queries = named_queries(
        texts=args.query,
        recordings=args.query_audio,
        pictures=args.query_image,
        without=args.without,
        average=args.average,
        weights=args.weights,
        paraphrase=settings.paraphrase,
    )
    if _PIPE in args.inputs:
        from audiosep_jax.cli.separate.pipe import separate_pipe

        return separate_pipe(args, queries, preset=preset, options=settings.options)
    from audiosep_jax.cli.separate.batch import separate_files

    return separate_files(args, queries, options=settings.options)


def _check(args: SeparateArgs) -> None:
    """Checks that the arguments go together, before anything is loaded."""
    piped = _PIPE in args.inputs
    raw: dict[str, Any] = {
        "--rate": args.rate,
        "--channels": args.channels,
        "--encoding": args.encoding,
        "--to": args.to,
    }
    files = {"--out": args.out is not None, "--jobs": args.jobs is not None, "--again": args.again}
    if not piped:
        for flag, value in raw.items():
            if value is not None:
                raise UsageError(f"{flag} is for the standard input: give - as the recording, or remove it.")
    elif len(args.inputs) > 1:
        raise UsageError("- is the standard input, which is separated alone: remove the other recordings.")
    elif args.json or args.stems:
        flag = "--json" if args.json else "--stems"
        raise UsageError(
            f"{flag} does not go with -: the standard output carries one sound. Remove {flag}, or give files."
        )
    elif flag := next((flag for flag, was_given in files.items() if was_given), None):
        raise UsageError(f"{flag} is for files: remove it, because - is separated into the standard output.")
    elif args.channels is not None and args.rate is None:
        raise UsageError(
            "--channels needs raw input: add --rate or remove it (a WAV header states its channels)."
        )
    if args.stems and not (args.query or args.query_audio or args.query_image):
        raise UsageError("--stems divides a recording among queries: give at least one with --query.")
    if args.jobs is not None and not 1 <= args.jobs <= 256:
        raise UsageError(f"--jobs is {args.jobs}: give 1 to 256.")
    if args.upstream_windows and args.preset not in (None, "reference"):
        raise UsageError("--upstream-windows means --preset reference: give one of the two.")
    if args.preset == "live" and not piped:
        raise UsageError(
            "--preset live is for the standard input: use --preset standard, which separates files better."
        )
    for path in args.inputs:
        if "\0" in str(path):
            raise UsageError(f"{printable(path)} is not a path: remove the zero byte.")
