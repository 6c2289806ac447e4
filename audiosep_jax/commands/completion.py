"""`audiosep completion`: what a shell needs to complete commands and options."""

import dataclasses
import importlib
import importlib.util
from typing import Annotated, Any, Literal, Union

import tyro

from audiosep_jax.errors import AudioSepError


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompletionArgs:
    """Print a script that makes a shell complete the commands of audiosep, their options and the values.

    bash:  audiosep completion bash > ~/.local/share/bash-completion/completions/audiosep

    zsh:   audiosep completion zsh > ~/.zfunc/_audiosep   (with fpath+=~/.zfunc before compinit)

    fish:  audiosep completion fish > ~/.config/fish/completions/audiosep.fish

    tcsh:  audiosep completion tcsh > ~/.audiosep.tcsh    (and source it from ~/.tcshrc)
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish", "tcsh"]]
    """Whose."""


def run(args: CompletionArgs) -> int:
    """Prints the script; returns 0."""
    if args.shell == "tcsh" and importlib.util.find_spec("shtab") is None:
        raise AudioSepError("Completion for tcsh needs the package shtab: pip install shtab.")
    try:
        tyro.cli(_commands(), args=["--tyro-print-completion", args.shell], prog="audiosep")
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def _commands() -> Any:
    """Returns a type for tyro whose subcommands are those of `audiosep`."""
    from audiosep_jax.cli import COMMANDS

    kinds = []
    for name in COMMANDS:
        module = importlib.import_module(f"audiosep_jax.commands.{name.replace(' ', '_')}")
        kind = getattr(module, f"{name.title().replace(' ', '')}Args")
        kinds.append(Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)])
    return Union[tuple(kinds)]  # noqa: UP007 - the members are only known here
