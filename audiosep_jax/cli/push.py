"""`audiosep push`: uploads a checkpoint folder to the Hugging Face hub."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro


@dataclasses.dataclass(frozen=True, kw_only=True)
class PushArgs:
    """Upload a checkpoint folder to the Hugging Face hub, where audiosep_jax.load("org/name") finds it.

    The folder is loaded first, as a check. A query encoder outside of the folder is uploaded with it, and a
    folder without README.md gets a model card. Log in once with `hf auth login`.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Checkpoint folder."""
    repository: Annotated[str, tyro.conf.arg(metavar="ORG/NAME"), tyro.conf.Positional]
    """Repository on the hub; it is created if it does not exist."""
    private: bool = False
    """Make a new repository private."""
    revision: str | None = None
    """Branch to write; it is created if it does not exist."""
    message: str | None = None
    """Commit message."""


def run(args: PushArgs) -> int:
    """Uploads and prints the address."""
    from audiosep_jax.checkpoints.hub_upload import push

    address = push(
        args.folder,
        args.repository,
        private=args.private,
        revision=args.revision,
        message=args.message,
    )
    print(f"{args.folder} is published at {address}")
    return 0
