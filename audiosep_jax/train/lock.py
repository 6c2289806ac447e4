"""One run at a time in a work directory."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from audiosep_jax.errors import AudioSepError


@contextlib.contextmanager
def only_run_in(workdir: Path) -> Iterator[None]:
    """Holds the work directory's lock; the system lets go of it when the process ends, however it ends.

    Raises:
      AudioSepError: another process trains there, or the directory cannot be written.
    """
    try:
        file = (workdir / ".lock").open("w")
    except OSError as error:
        raise AudioSepError(f"work directory {workdir} cannot be written: {error}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AudioSepError(
                f"another process is training in {workdir}: wait for it, or choose another --workdir."
            ) from None
        yield
