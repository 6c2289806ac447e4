"""The report of a build: how many clips were prepared, and which were skipped for which reason."""

import dataclasses
import json
from pathlib import Path

from audiosep_jax.errors import DatasetError

FILE_NAME = "report.json"


@dataclasses.dataclass(frozen=True, order=True)
class SkippedClip:
    """A clip that could not be prepared."""

    file: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildReport:
    """The outcome of a build: clips stored per split, seconds of their sound, and clips that are not stored.

    Absent files are `missing`, and not skipped, if the builder expects them (`ClipBuilder.expects_missing`).
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
        """Number of clips in the tables of the source."""
        return sum(self.prepared.values()) + len(self.skipped) + len(self.missing)

    def summary(self, folder: Path) -> str:
        """Returns one line for a person; `folder` is where `report.json` is."""
        splits = ", ".join(f"{name} {count}" for name, count in sorted(self.prepared.items()))
        counts = {
            "missing": len(self.missing),
            "without caption": self.uncaptioned,
            "with frames": self.with_frames,
        }
        return (
            f"{sum(self.prepared.values())} of {self.total} clips prepared ({splits}), "
            f"{self.seconds / 60:.1f} minutes at {self.sample_rate_hz} Hz, {len(self.skipped)} skipped"
            + "".join(f", {count} {name}" for name, count in counts.items() if count)
            + (f"; see {folder / FILE_NAME}" if self.skipped or self.missing else "")
        )

    def write(self, folder: Path) -> None:
        """Writes `report.json` into a dataset's folder."""
        values = {"total": self.total, **dataclasses.asdict(self)}
        (folder / FILE_NAME).write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def read(folder: Path) -> BuildReport:
    """Returns the report in a dataset's folder.

    Raises:
      DatasetError: the report is absent or damaged.
    """
    try:
        values = json.loads((folder / FILE_NAME).read_text("utf-8"))
        del values["total"]
        skipped = tuple(SkippedClip(**clip) for clip in values.pop("skipped"))
        return BuildReport(**values | {"missing": tuple(values["missing"])}, skipped=skipped)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{folder / FILE_NAME} is damaged ({error}): prepare the dataset again."
        ) from error


class Failures:
    """Collects those of `total` clips that could not be prepared; `expects_missing` as in `BuildReport`."""

    def __init__(self, source: Path, *, total: int, expects_missing: bool) -> None:
        self._source = source
        self._total = total
        self._expects_missing = expects_missing
        self.skipped: list[SkippedClip] = []
        self.missing: list[str] = []

    def add(self, file: str, reason: str, *, absent: bool) -> bool:
        """Adds a clip and returns whether it counts as skipped."""
        if absent and self._expects_missing:
            self.missing.append(file)
            return False
        self.skipped.append(SkippedClip(file, reason))
        return True

    def check(self, max_failed_share: float) -> None:
        """Checks the share of skipped clips among those that are not missing.

        Raises:
          DatasetError: more than this share of the clips failed; the text shows three.
        """
        total = self._total - len(self.missing)
        if len(self.skipped) <= max_failed_share * total:
            return
        examples = " ".join(f"[{clip.file}: {clip.reason}]" for clip in sorted(self.skipped)[:3])
        raise DatasetError(
            f"{self._source}: {len(self.skipped)} of {total} clips cannot be used, more than the allowed "
            f"share of {max_failed_share:g}; nothing was written. Repair them or raise --max-failed-share. "
            f"For example: {examples}"
        )
