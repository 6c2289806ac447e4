"""Processes that benchmarks measure: started once, asked in lines of JSON; among them the PyTorch twin."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiosep_jax.checkpoints.pytorch_names import to_pytorch
from audiosep_jax.config import ModelConfig
from audiosep_jax.errors import UsageError
from audiosep_jax.models.separator import Variables

Ask = Callable[[dict[str, Any]], dict[str, Any]]


@contextlib.contextmanager
def worker(command: Sequence[str], *, name: str) -> Iterator[tuple[dict[str, Any], Ask]]:
    """Starts a process; yields its first answer, and a function that asks it and waits.

    The process prints a line of JSON when it is ready, and one for each line that it reads.

    Raises:
      UsageError: the process does not start, or ends before it has answered.
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
        with contextlib.suppress(BrokenPipeError):  # `answer` raises with the process's last line
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
        return answer()

    try:
        yield answer(), ask
    finally:
        process.kill()
        process.communicate()


def twin(torch_python: Path, folder: Path) -> contextlib.AbstractContextManager[tuple[dict[str, Any], Ask]]:
    """Starts the PyTorch twin with the files of `write_twin`, as `worker` does."""
    script = str(Path(__file__).with_name("pytorch_twin.py"))
    return worker([str(torch_python), script, str(folder)], name="the PyTorch twin")


def write_twin(folder: Path, model: ModelConfig, variables: Variables, **settings: Any) -> None:
    """Writes the model and other settings for `pytorch_twin.py`."""
    shape = {
        name: getattr(model, name)
        for name in ("window_length", "hop_length", "encoder_widths", "condition_size")
    }
    (folder / "config.json").write_text(json.dumps({"model": shape, **settings}), "utf-8")
    weights = {name: np.ascontiguousarray(value) for name, value in to_pytorch(model, variables).items()}
    np.savez(folder / "weights.npz", **weights)  # pyright: ignore[reportArgumentType]
