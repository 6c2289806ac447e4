"""The two files of a finished shard: its records, and a description that is written last."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from audiosep_jax.utils.atomic import replacing
from data_pipelines.mixtures import clip_index, records
from data_pipelines.prepare.encoding import Failure, Recorded, Recorder
from data_pipelines.prepare.shards import Shard

_UNFINISHED = ".part"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished:
    """The description of a finished shard; `record_bytes` and `samples` are sums over its clips.

    `stamp` is a hash of the stamps of the files that the shard was made from. `failures` has the clips that
    could not be used, as [file, reason, absent].
    """

    clips: int
    record_bytes: int
    file_bytes: int
    samples: int
    uncaptioned: int
    with_frames: int
    stamp: str
    failures: list[tuple[str, str, bool]]


class ShardFiles:
    """A folder, made with the first file, of shards that are finished when both of their files are there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def records(self, shard: Shard) -> Path:
        """Returns the path of a shard's ArrayRecord file."""
        return self.folder / f"{shard.name}.array_record"

    def read(self, shard: Shard) -> Finished | None:
        """Returns the description of a shard, or None if the shard is unfinished or damaged."""
        try:
            with self._description(shard).open(encoding="utf-8") as lines:
                values = json.loads(next(lines))
            finished = Finished(**values)
            whole = self.records(shard).stat().st_size == finished.file_bytes
        except (OSError, ValueError, TypeError, StopIteration):
            return None
        return finished if whole else None

    def is_current(self, shard: Shard, finished: Finished, recorder: Recorder) -> bool:
        """Returns whether the files that a shard was made from are unchanged."""
        return finished.stamp == _joined(recorder.encoder.stamp(row) for row in shard.rows)

    def index_lines(self, shard: Shard) -> Iterator[str]:
        """Yields a shard's lines of the index, in record order."""
        with self._description(shard).open(encoding="utf-8") as lines:
            next(lines)
            yield from lines

    def forget(self, shard: Shard) -> None:
        """Makes a shard unfinished."""
        self._description(shard).unlink(missing_ok=True)

    def write(self, shard: Shard, outcomes: Iterable[Recorded | Failure]) -> Finished:
        """Writes a shard from the outcomes of its rows, in their order; two processes may do so at once.

        If the process is killed, the shard is unfinished.

        Raises:
          StorageError: the folder cannot be written.
        """
        stamps, failures, lines = [], [], []
        samples = uncaptioned = with_frames = record_bytes = 0

        def usable() -> Iterator[bytes]:
            nonlocal samples, uncaptioned, with_frames, record_bytes
            for outcome in outcomes:
                stamps.append(outcome.stamp)
                if isinstance(outcome, Failure):
                    failures.append((outcome.file, outcome.reason, outcome.absent))
                    continue
                clip = outcome.clip
                lines.append(clip_index.index_line(clip))
                samples += clip.samples
                uncaptioned += not clip.captions
                with_frames += bool(clip.frames)
                record_bytes += len(outcome.record)
                yield outcome.record

        with self._replacing(self.records(shard)) as path:
            records.write_file(path, usable())
            file_bytes = path.stat().st_size
        finished = Finished(
            clips=len(lines),
            record_bytes=record_bytes,
            file_bytes=file_bytes,
            samples=samples,
            uncaptioned=uncaptioned,
            with_frames=with_frames,
            stamp=_joined(stamps),
            failures=failures,
        )
        header = json.dumps(dataclasses.asdict(finished), ensure_ascii=False)
        self.write_text(self._description(shard), "".join(f"{text}\n" for text in (header, *lines)))
        return finished

    def write_text(self, path: Path, text: str) -> None:
        """Writes a file of the folder whole or not at all; `StorageError` if it cannot be written."""
        with self._replacing(path) as temporary:
            temporary.write_text(text, "utf-8")

    def sweep(self) -> None:
        """Removes the temporary files of killed writers."""
        for path in self.folder.glob(f".*{_UNFINISHED}"):
            path.unlink(missing_ok=True)

    def _description(self, shard: Shard) -> Path:
        return self.folder / f"{shard.name}.jsonl"

    def _replacing(self, path: Path) -> contextlib.AbstractContextManager[Path]:
        advice = "make room, then give the same command again to resume"
        return replacing(path, suffix=_UNFINISHED, durable=True, advice=advice)


def _joined(stamps: Iterable[str]) -> str:
    whole = hashlib.sha256()
    for stamp in stamps:
        whole.update(stamp.encode() + b"\n")
    return whole.hexdigest()
