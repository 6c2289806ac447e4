"""What the page takes: how long, how large, how many at a time."""

import dataclasses
import math

from audiosep_jax.errors import UsageError

# Sounds of more channels may be shorter: the work grows with both.
_FREE_CHANNELS = 2
# What is kept on disk, in uploads of the largest size; mixture, estimate and residual of each count.
_STORED_UPLOADS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What is refused, and when what was not is removed.

    Attributes:
      sound_seconds: longest recording, mono or stereo; of 2n channels the n-th part.
      upload_bytes: largest upload.
      waiting: separations that wait at most; one is computed at a time.
      work_seconds: a separation that takes longer is given up.
      kept_seconds: how long uploads and results are kept on disk while their page is open.
      query_letters: longest query.
    """

    sound_seconds: float = 300.0
    upload_bytes: int = 100_000_000
    waiting: int = 8
    work_seconds: float = 900.0
    kept_seconds: float = 1800.0
    query_letters: int = 1000

    def __post_init__(self) -> None:
        for name, unit in (
            ("sound_seconds", "seconds"),
            ("work_seconds", "seconds"),
            ("kept_seconds", "seconds"),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"A limit of {value:g} {unit} was given: it has to be positive.")
        if self.upload_bytes < 1 or self.waiting < 1 or self.query_letters < 1:
            raise UsageError("Uploads, waiting separations and the letters of a query need limits from 1 on.")

    @property
    def stored_bytes(self) -> int:
        """What uploads and results may take on disk together; when it is full, uploads are refused."""
        return _STORED_UPLOADS * self.upload_bytes

    def seconds_for(self, channels: int) -> float:
        """Longest recording of so many channels."""
        return self.sound_seconds * min(1.0, _FREE_CHANNELS / channels)
