"""The report of a build: how many clips were prepared, which were skipped and why."""

import dataclasses
import json
from pathlib import Path

from audiosep_jax.errors import AudioSepError

FILE_NAME = "report.json"


@dataclasses.dataclass(frozen=True)
class SkippedClip:
    """A clip that could not be prepared.

    Attributes:
      file: path relative to the source folder.
      reason: what is wrong with it.
    """

    file: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What came of a build.

    Attributes:
      dataset: name of the builder.
      source: the folder that was read.
      sample_rate_hz: rate of the stored sound.
      prepared: clips stored, per split.
      seconds: duration of the stored sound.
      uncaptioned: stored clips that have no caption.
      with_frames: stored clips that have images of their video.
      skipped: clips that are there and were left out.
      missing: files that a source names and nobody has, where that is expected.
    """

    dataset: str
    source: str
    sample_rate_hz: int
    prepared: dict[str, int]
    seconds: float
    uncaptioned: int
    with_frames: int
    skipped: tuple[SkippedClip, ...]
    missing: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Clips that the source names."""
        return sum(self.prepared.values()) + len(self.skipped) + len(self.missing)

    def write(self, folder: Path) -> None:
        """Writes `report.json` into a dataset's folder."""
        values = {"total": self.total, **dataclasses.asdict(self)}
        (folder / FILE_NAME).write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def check_failures(skipped: list[SkippedClip], *, total: int, max_failed_share: float, source: Path) -> None:
    """Stops a build in which too much failed.

    Raises:
      AudioSepError: more than `max_failed_share` of `total` clips failed; the text shows the first three.
    """
    if len(skipped) <= max_failed_share * total:
        return
    examples = " ".join(f"[{clip.file}: {clip.reason}]" for clip in skipped[:3])
    raise AudioSepError(
        f"{source}: {len(skipped)} of {total} clips cannot be used, more than the allowed share of "
        f"{max_failed_share:g}; nothing was written. Repair them or raise --max-failed-share. "
        f"The first: {examples}"
    )
