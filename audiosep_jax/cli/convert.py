"""`audiosep convert`: weights of PyTorch become a checkpoint folder, or a checkpoint folder a `.ckpt`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from audiosep_jax.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertArgs:
    """Take over released PyTorch weights, or write them back for PyTorch.

    SRC is the released AudioSep (.ckpt or .safetensors), LAION's CLAP (.pt), or a transformers folder of
    CLAP, CLIP or a sentence encoder; DST is the folder to write. With --to pytorch, SRC is a checkpoint
    folder and DST the .ckpt to write.
    """

    source: Annotated[str, tyro.conf.arg(name="src", metavar="SRC"), tyro.conf.Positional]
    """File or folder with the weights, or the Hugging Face id of a transformers model."""
    target: Annotated[Path, tyro.conf.arg(name="dst", metavar="DST"), tyro.conf.Positional]
    """Folder to write, or file with --to pytorch."""
    to: Literal["jax", "pytorch"] = "jax"
    """Which way."""
    preset: Literal["base", "paper", "dcase"] | None = None
    """Sample rate and hop of the model, where its tensors leave a choice."""
    tokenizer: str = "roberta-base"
    """Tokenizer of a LAION CLAP, which comes without: a folder or a Hugging Face id."""
    tower: str | None = None
    """File, folder or Hugging Face id of a tower for a separator that has none."""
    kind: Literal["auto", "audiosep", "tower"] = "auto"
    """What SRC must be: an AudioSep, a tower alone, or whichever it is."""
    overwrite: bool = False
    """Replace a checkpoint or tower folder at DST, or a file with --to pytorch."""


def run(args: ConvertArgs) -> int:
    """Converts, and prints what was found and what was written."""
    if args.to == "pytorch":
        given = [
            f"--{field.name}"
            for field in dataclasses.fields(args)
            if field.name in ("preset", "tokenizer", "tower", "kind")
            and getattr(args, field.name) != field.default
        ]
        if given:
            raise UsageError(f"{' and '.join(given)} cannot be used with --to pytorch: leave them out.")
        from audiosep_jax.checkpoints.to_pytorch import to_lightning

        print(*to_lightning(args.source, args.target, overwrite=args.overwrite).lines, sep="\n")
        return 0
    from audiosep_jax.checkpoints.from_pytorch import convert

    conversion = convert(
        args.source,
        args.target,
        preset=args.preset,
        tokenizer=args.tokenizer,
        tower_source=args.tower,
        kind=args.kind,
        overwrite=args.overwrite,
    )
    print(*conversion.found, *conversion.written, sep="\n")
    return 0
