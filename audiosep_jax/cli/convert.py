"""`audiosep convert`: converts PyTorch weights to a checkpoint folder, or such a folder to a `.ckpt`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from audiosep_jax.cli.flags import given_flags
from audiosep_jax.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertArgs:
    """Convert released PyTorch weights, or write a checkpoint for PyTorch.

    SRC is the released AudioSep (.ckpt or .safetensors), LAION's CLAP (.pt), or a transformers folder of
    CLAP, CLIP or a sentence encoder; DST is the folder to write. With --to pytorch, SRC is a checkpoint
    folder and DST the .ckpt to write.
    """

    source: Annotated[str, tyro.conf.arg(name="src", metavar="SRC"), tyro.conf.Positional]
    """File or folder with the weights, or the Hugging Face id of a transformers model."""
    target: Annotated[Path, tyro.conf.arg(name="dst", metavar="DST"), tyro.conf.Positional]
    """Folder to write; with --to pytorch, the file to write."""
    to: Literal["jax", "pytorch"] = "jax"
    """Direction of the conversion."""
    preset: Literal["base", "paper", "dcase"] | None = None
    """Sample rate and hop of the model, if its tensors leave a choice."""
    tokenizer: str = "roberta-base"
    """Tokenizer of a LAION CLAP, whose file has none: a folder or a Hugging Face id."""
    tower: str | None = None
    """File, folder or Hugging Face id of a query encoder, for a separator without one."""
    kind: Literal["auto", "audiosep", "tower"] = "auto"
    """What SRC must be: an AudioSep, a query encoder (tower), or either (auto)."""
    overwrite: bool = False
    """Replace an existing DST."""


def run(args: ConvertArgs) -> int:
    """Converts, and prints what was read and written."""
    if args.to == "pytorch":
        if given := given_flags(args, without=("source", "target", "to", "overwrite")):
            raise UsageError(f"{' and '.join(given)} cannot be used with --to pytorch: remove them.")
        from audiosep_jax.checkpoints.to_pytorch import to_lightning

        print(*to_lightning(args.source, args.target, overwrite=args.overwrite), sep="\n")
        return 0
    from audiosep_jax.checkpoints.from_pytorch import convert

    lines = convert(
        args.source,
        args.target,
        preset=args.preset,
        tokenizer=args.tokenizer,
        tower_source=args.tower,
        kind=args.kind,
        overwrite=args.overwrite,
    )
    print(*lines, sep="\n")
    return 0
