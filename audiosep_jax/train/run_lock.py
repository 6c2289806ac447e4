"""One run at a time in a work directory."""

import contextlib
import json
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from etils import epath

from audiosep_jax.errors import StorageError, TrainingError, shown
from audiosep_jax.train.storage import is_remote, read_bytes
from audiosep_jax.utils.locks import locked

_NAME = ".lock"
_TOKEN = uuid.uuid4().hex


def only_run_in(workdir: str | os.PathLike) -> contextlib.AbstractContextManager[object]:
    """Holds the work directory: the lead process does it for its run.

    On this machine and on file systems that share locks, a second run is refused, and the system lets go
    when the process ends, however it ends. A bucket has no locks, and a killed process could not let go of
    one: there the run that was started last holds it, and an earlier one stops before its next checkpoint
    (`check_held`). A restarted job never waits for its dead predecessor, nor is undone by one that lingers.

    Raises:
      AudioSepError: another process trains there, or the directory cannot be written.
    """
    if is_remote(workdir):
        return _claimed(epath.Path(workdir))
    return locked(
        Path(workdir) / _NAME,
        busy=f"another process is training in {workdir}",
        instead="choose another --workdir",
    )


def check_held(workdir: str | os.PathLike) -> None:
    """Asks, before something is written to a bucket, whether this process still holds it.

    Raises:
      AudioSepError: a run that was started later has taken it over.
    """
    if not is_remote(workdir):
        return
    holder = _holder(epath.Path(workdir))
    if holder.get("token") not in (None, _TOKEN):
        raise TrainingError(
            f"a run that was started later has taken over {workdir} (process {holder.get('process')} on "
            f"{holder.get('host')}): this one stops without writing there; choose another --workdir for it."
        )


@contextlib.contextmanager
def _claimed(workdir: epath.Path) -> Iterator[None]:
    claim = {"token": _TOKEN, "host": socket.gethostname(), "process": os.getpid()}
    try:
        (workdir / _NAME).write_text(json.dumps(claim))
    except Exception as error:  # every backend has its own
        raise StorageError(f"work directory {workdir} cannot be written: {shown(error)}.") from error
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            if _holder(workdir).get("token") == _TOKEN:
                (workdir / _NAME).unlink()


def _holder(workdir: epath.Path) -> dict[str, Any]:
    try:
        claim = json.loads(read_bytes(workdir / _NAME) or b"{}")
    except ValueError:
        return {}  # damaged: nobody's
    return claim if isinstance(claim, dict) else {}
