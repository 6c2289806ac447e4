"""`audiosep completion`: prints a script that makes a shell complete commands and options."""

import ast
import contextlib
import dataclasses
import importlib.util
import io
from typing import Annotated, Any, Literal, Union

import tyro

from audiosep_jax.errors import MissingPackageError

# The line of tyro's scripts for bash and zsh that holds all completions.
_TABLE = "COMPLETION_SPEC = "


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompletionArgs:
    """Print a script that makes a shell complete the commands of audiosep, their options and the values.

    bash:  audiosep completion bash > ~/.local/share/bash-completion/completions/audiosep

    zsh:   audiosep completion zsh > ~/.zfunc/_audiosep   (with fpath+=~/.zfunc before compinit)

    tcsh:  audiosep completion tcsh > ~/.audiosep.tcsh    (and source it from ~/.tcshrc)
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh", "tcsh"]]
    """The shell."""


def run(args: CompletionArgs) -> int:
    """Prints the script; returns 0."""
    if args.shell == "tcsh" and importlib.util.find_spec("shtab") is None:
        raise MissingPackageError("Completion for tcsh needs the package shtab: pip install shtab.")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        tyro.cli(_commands(), args=["--tyro-print-completion", args.shell], prog="audiosep")
    for line in printed.getvalue().splitlines():
        print(f"{_TABLE}{_repaired(line.removeprefix(_TABLE))!r}" if line.startswith(_TABLE) else line)
    return 0


def _repaired(literal: str) -> dict[str, Any]:
    """Returns tyro's table with one-line descriptions, and `sweep report` as a subcommand of `sweep`."""
    table = ast.literal_eval(literal.replace("\\n", " "))
    commands = table["subcommands"]
    for name in [name for name in commands if " " in name]:
        above, _, below = name.partition(" ")
        commands[above]["subcommands"][below] = commands.pop(name)
        table["frontier_groups"] = [
            [each for each in group if each != name] for group in table["frontier_groups"]
        ]
    return table


def _commands() -> Any:
    """Returns a type for tyro whose subcommands are the commands of `audiosep`."""
    from audiosep_jax.cli.main import COMMANDS, command_module

    kinds = []
    for name in COMMANDS:
        module = command_module(name)
        kind = getattr(module, f"{name.title().replace(' ', '')}Args")
        kinds.append(Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)])
    return Union[tuple(kinds)]  # noqa: UP007 - the members are computed
