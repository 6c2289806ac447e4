"""Processes that benchmarks ask for one measurement after another, in lines of JSON."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from audiosep_jax.errors import UsageError


@contextlib.contextmanager
def worker(
    command: Sequence[str], *, name: str
) -> Iterator[tuple[dict[str, Any], Callable[[dict[str, Any]], dict[str, Any]]]]:
    """Starts a process; yields what it says at its start, and a function that asks it and waits.

    Args:
      command: prints a line of JSON when it is ready, and one for each line that it reads.
      name: of the process in errors, such as "the PyTorch twin".

    Raises:
      AudioSepError: the process does not start, or ends before it has answered.
    """
    try:
        process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    except OSError as error:
        raise UsageError(f"{command[0]} does not start: {error.strerror}.") from error

    def answer() -> dict[str, Any]:
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            said = process.communicate()[1].strip().splitlines()
            raise UsageError(
                f"{name} ended: {said[-1].removeprefix('error: ') if said else process.returncode}"
            )
        return json.loads(line)

    def ask(question: dict[str, Any]) -> dict[str, Any]:
        assert process.stdin
        with contextlib.suppress(BrokenPipeError):  # its last words say why
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
        return answer()

    try:
        yield answer(), ask
    finally:
        process.kill()
        process.communicate()
