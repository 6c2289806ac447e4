"""The limits of the page: length, size, number at a time."""

import dataclasses
import math

from audiosep_jax.errors import UsageError

# More channels reduce the longest length, because the work grows with both.
_FREE_CHANNELS = 2
# Disk space for uploads and results, in uploads of the largest size.
_STORED_UPLOADS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits beyond which the page refuses, stops or deletes.

    Attributes:
      sound_seconds: longest recording, mono or stereo; the n-th part for 2n channels.
      upload_bytes: largest upload.
      waiting: most separations in the queue; one runs at a time.
      work_seconds: a longer separation is stopped.
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
        for value in (self.sound_seconds, self.work_seconds, self.kept_seconds):
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"A limit of {value:g} seconds was given: give a positive number.")
        if self.upload_bytes < 1 or self.waiting < 1 or self.query_letters < 1:
            raise UsageError("A limit of megabytes, waiting separations or letters is below 1: raise it.")

    @property
    def stored_bytes(self) -> int:
        """Most bytes of uploads and results together."""
        return _STORED_UPLOADS * self.upload_bytes

    def seconds_for(self, channels: int) -> float:
        """Returns the longest recording with so many channels.

        Examples:
          >>> Limits(sound_seconds=300).seconds_for(8)
          75.0
        """
        return self.sound_seconds * min(1.0, _FREE_CHANNELS / channels)
