"""`audiosep web`: a page to upload or record a sound, describe another, and hear it."""

import dataclasses
import sys
from typing import Annotated

import tyro

from audiosep_jax.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class WebArgs:
    """Serve a page to upload or record a sound, describe what to hear, and listen to it.

    The page is served to this machine alone, and loads nothing from anywhere else:

    audiosep web
    """

    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="FOLDER|ORG/NAME")] = None
    """Folder of the model, or org/name on the Hugging Face hub; without it the bundled one separates."""
    host: str = "127.0.0.1"
    """Address to listen on. Any other than the one of this machine lets others use the page, without a
    password."""
    port: int = 7860
    """Port to listen on; 0 takes any that is free."""
    max_seconds: float = 300.0
    """Longest recording, mono or stereo; more channels may be shorter."""
    max_megabytes: float = 100.0
    """Largest upload."""
    max_waiting: int = 8
    """Separations that may wait; one is computed at a time."""
    max_work_seconds: float = 900.0
    """A separation that takes longer is given up."""
    keep_minutes: float = 30.0
    """How long uploads and results are kept. They are removed before, where their page is closed."""


def run(args: WebArgs) -> int:
    """Serves until Ctrl-C or SIGTERM."""
    from audiosep_jax.web.limits import Limits

    if not 0 <= args.port <= 65535:
        raise UsageError(f"--port is {args.port}: give a number from 0 to 65535.")
    limits = Limits(
        sound_seconds=args.max_seconds,
        upload_bytes=round(args.max_megabytes * 1e6) if args.max_megabytes < 1e9 else 0,
        waiting=args.max_waiting,
        work_seconds=args.max_work_seconds,
        kept_seconds=60 * args.keep_minutes,
    )
    from audiosep_jax.web.server import LOCAL, bind, check_installed, serve

    check_installed()
    with bind(args.host, args.port) as listening:
        import audiosep_jax

        model = audiosep_jax.load(args.checkpoint)
        if args.host not in LOCAL:
            print(
                f"audiosep: warning: whoever reaches {args.host} can use this page: it has no password and "
                "no encryption.",
                file=sys.stderr,
            )

        def ready(address: str) -> None:
            print(f"{address}  (Ctrl-C ends it)", flush=True)

        serve(model, listening=listening, host=args.host, limits=limits, ready=ready)
    return 0
