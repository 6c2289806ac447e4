"""The program `audiosep`: finds the command's module, parses its arguments, and prints its errors."""

import contextlib
import difflib
import importlib
import io
import logging
import os
import re
import select
import signal
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType

import audiosep_jax
from audiosep_jax.errors import AudioSepError, Stopped, UsageError
from audiosep_jax.utils.devices import device_error, skip_libtpu_without_tpu
from audiosep_jax.utils.signals import Terminated, unwinding_at_sigterm
from audiosep_jax.utils.xla_cache import use_cache

# A command's module is imported when the command is called, so that `audiosep --help` answers at once.
COMMANDS = {
    "separate": "extract the described sounds from recordings",
    "web": "serve a page to upload or record a sound, describe another, and listen to it",
    "prepare": "turn recordings and captions into a dataset for training",
    "train": "train a model, or resume its training",
    "compile": "compute whether a training fits a TPU, and its speed, without a TPU",
    "evaluate": "measure a model on a fixed evaluation set",
    "benchmark": "measure a model on the benchmarks of the literature, or compare two",
    "render": "make a corpus of mixtures from clips, the same bytes on every machine",
    "show": "write a page of a separation with players, of trainings or of an evaluation",
    "convert": "convert released PyTorch weights, or write a checkpoint for PyTorch",
    "export": "write a model for serving without this project",
    "push": "upload a checkpoint folder to the Hugging Face hub",
    "sweep": "train and measure the cells of an ablation, with several seeds",
    "sweep report": "write the table of a sweep, with intervals and significance",
    "completion": "print a script that makes a shell complete these commands and their options",
}

# Commands whose module is in a folder.
_MODULES = {"separate": "audiosep_jax.cli.separate.command"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `audiosep` and returns its exit status.

    0: success. 2: a mistake of the user. 1: a failure that may pass by itself, or a defect. 130: Ctrl-C.
    143: SIGTERM. 141: the reader of the output is gone. A training that a signal ended has saved its state:
    the same command resumes it.

    Args:
      argv: the arguments; None takes those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be printable
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    # With --debug, warnings about parts of the work that failed show their traceback.
    logging.getLogger("audiosep_jax").setLevel(logging.DEBUG if debug else logging.NOTSET)
    # A training has its own handlers between its steps; before them, SIGTERM ends it as usual.
    with unwinding_at_sigterm() if arguments[:1] != ["train"] else contextlib.nullcontext():
        try:
            status = _dispatch(arguments)
            sys.stdout.flush()
            return status
        except BrokenPipeError:
            if not _output_is_closed():
                raise
            if debug:
                traceback.print_exc()
            return 128 + signal.SIGPIPE
        except AudioSepError as error:
            if debug:
                traceback.print_exc()
            print(f"audiosep: error: {_one_line(str(error))}", file=sys.stderr)
            return error.status
        except (KeyboardInterrupt, Terminated) as error:
            if debug:
                traceback.print_exc()
            number = error.number if isinstance(error, Terminated | Stopped) else signal.SIGINT
            print(f"audiosep: {'terminated' if number == signal.SIGTERM else 'interrupted'}", file=sys.stderr)
            return 128 + number


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        print(_help(), file=sys.stderr)
        return 2
    name, *rest = arguments
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        print(f"audiosep {audiosep_jax.__version__}")
        return 0
    if name not in COMMANDS:
        kind = "option" if name.startswith("-") else "command"
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(COMMANDS)}."
        raise UsageError(f"there is no {kind} {name!r}: {hint}")
    import tyro

    if rest and f"{name} {rest[0]}" in COMMANDS:
        name = f"{name} {rest.pop(0)}"
    use_cache()
    skip_libtpu_without_tpu()
    command = command_module(name)
    arguments_class = getattr(command, f"{name.title().replace(' ', '')}Args")
    parsed = tyro.cli(arguments_class, args=rest, prog=f"audiosep {name}")
    try:
        return command.run(parsed)
    except (AssertionError, RuntimeError) as error:
        if (missing := device_error()) is None:
            raise
        raise missing from error


def command_module(name: str) -> ModuleType:
    """Returns the module that defines a command: its arguments class and its `run`."""
    place = _MODULES.get(name, f"audiosep_jax.cli.{name.replace(' ', '_')}")
    return importlib.import_module(place)


def _output_is_closed() -> bool:
    """Tells whether the reader of the standard output is gone; if so, redirects Python's flush at exit."""
    try:
        number = sys.stdout.fileno()
        poll = select.poll()
        poll.register(number, select.POLLOUT)
        if not any(events & select.POLLERR for _, events in poll.poll(0)):
            return False
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), number)
    except (OSError, ValueError):
        return False
    return True


def _one_line(text: str) -> str:
    """Escapes control characters: an error may quote a file from an untrusted source."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda found: repr(found[0])[1:-1], text)


def _help() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {purpose}" for name, purpose in COMMANDS.items())
    return (
        "usage: audiosep COMMAND [OPTIONS]\n\n"
        "A recording and a sentence in, the described sound out.\n\n"
        f"commands:\n{commands}\n\n"
        "options:\n"
        "  -h, --help  show this help; audiosep COMMAND --help shows that of a command\n"
        "  --version   show the version\n"
        "  --debug     show where an error came from"
    )


if __name__ == "__main__":
    sys.exit(main())
