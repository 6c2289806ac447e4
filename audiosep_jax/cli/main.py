"""The command `audiosep`: finds the command's module, parses its arguments, and words its errors."""

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
from audiosep_jax.utils.signals import Terminated, unwinding_at_sigterm
from audiosep_jax.utils.xla_cache import use_cache

# A command's module and its libraries are imported only when it is called, so that --help answers at once.
COMMANDS = {
    "separate": "extract the described sounds from recordings",
    "web": "a page to upload or record a sound, describe another, and hear it",
    "prepare": "turn recordings and captions into a dataset for training",
    "train": "train a model, or go on training it",
    "compile": "see whether a training fits a TPU, and how fast it would be, without one",
    "evaluate": "measure a model on a fixed evaluation set",
    "benchmark": "measure a model on the benchmarks of the literature, or compare two",
    "render": "make a corpus of mixtures from clips, the same bytes for everyone",
    "show": "see and hear separations, trainings and evaluations on a page",
    "convert": "take over released PyTorch weights, or write them back for PyTorch",
    "export": "write a model for serving without this project",
    "push": "upload a checkpoint folder to the Hugging Face hub",
    "sweep": "train and measure the cells of an ablation, with several seeds",
    "sweep report": "the table of a sweep, with intervals and what is significant",
    "completion": "print what makes a shell complete these commands and their options",
}

# Commands that are a folder of modules.
_PLACES = {"separate": "audiosep_jax.cli.separate.command"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `audiosep` and returns its exit status.

    0; 2 for a user's mistake; 1 for what may pass by itself, or a defect; 130 at Ctrl-C, 143 at SIGTERM, 141
    where nobody reads what is printed any more.
    A training that a signal ended has saved its state: whoever started it may start it again, and it goes on.

    Args:
      argv: the arguments; None takes those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be printable
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    # What fails while others go on is told with its place.
    logging.getLogger("audiosep_jax").setLevel(logging.DEBUG if debug else logging.NOTSET)
    # A training has handlers of its own between its steps. Before them SIGTERM ends it as ever.
    with unwinding_at_sigterm() if arguments[:1] != ["train"] else contextlib.nullcontext():
        try:
            status = _dispatch(arguments)
            sys.stdout.flush()
            return status
        except BrokenPipeError:
            if not _nobody_reads():
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
    command = command_module(name)
    arguments_class = getattr(command, f"{name.title().replace(' ', '')}Args")
    return command.run(tyro.cli(arguments_class, args=rest, prog=f"audiosep {name}"))


def command_module(name: str) -> ModuleType:
    """Returns the module that defines a command: its arguments class and its `run`."""
    place = _PLACES.get(name, f"audiosep_jax.cli.{name.replace(' ', '_')}")
    return importlib.import_module(place)


def _nobody_reads() -> bool:
    """Whether the reader of the standard output is gone; if so, Python's own farewell to it is kept quiet."""
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
    """Escapes what a terminal would obey: an error may quote a file that a stranger wrote."""
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
