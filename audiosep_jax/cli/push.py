"""`audiosep push`: a checkpoint folder goes to the Hugging Face hub."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro


@dataclasses.dataclass(frozen=True, kw_only=True)
class PushArgs:
    """Upload a checkpoint folder to the Hugging Face hub, where audiosep_jax.load("org/name") finds it.

    The folder is loaded first; a tower that lies elsewhere is uploaded with it; a folder without README.md
    gets a model card. Log in once with `hf auth login`.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Checkpoint folder."""
    repository: Annotated[str, tyro.conf.arg(metavar="ORG/NAME"), tyro.conf.Positional]
    """Where it goes; the repository is created if need be."""
    private: bool = False
    """A repository that is created is private."""
    revision: str | None = None
    """Branch to write; it is created if need be."""
    message: str | None = None
    """Message of the commit."""


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
