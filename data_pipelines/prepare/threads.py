"""Makes shards on this machine, with threads: what takes time in a clip holds no lock of Python's."""

import collections
import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent import futures
from typing import TypeVar

from data_pipelines.prepare.encoding import Failure, Recorded, Recorder
from data_pipelines.prepare.shard_files import ShardFiles
from data_pipelines.prepare.shards import Shard

T = TypeVar("T")
R = TypeVar("R")


def build(
    recorder: Recorder,
    shards: Sequence[Shard],
    files: ShardFiles,
    *,
    workers: int,
    on_outcome: Callable[[Recorded | Failure], None],
) -> None:
    """Makes shards one after the other. The threads work ahead, also beyond the end of a shard.

    At most three clips per worker are in memory, however many there are.

    Args:
      recorder: reads and encodes a clip.
      shards: those to make.
      files: where they go.
      workers: threads.
      on_outcome: called with what came of each clip, in order; what it raises ends the build.

    Raises:
      AudioSepError: the files cannot be written.
    """
    rows = (row for shard in shards for row in shard.rows)
    with (
        futures.ThreadPoolExecutor(workers) as pool,
        contextlib.closing(_ahead(pool, recorder, rows, 2 * workers)) as outcomes,
    ):
        for shard in shards:
            files.write(shard, _told(itertools.islice(outcomes, len(shard.rows)), on_outcome))


def _told(
    outcomes: Iterable[Recorded | Failure], on_outcome: Callable[[Recorded | Failure], None]
) -> Iterator[Recorded | Failure]:
    for outcome in outcomes:
        on_outcome(outcome)
        yield outcome


def _ahead(
    pool: futures.Executor, function: Callable[[T], R], items: Iterable[T], window: int
) -> Generator[R, None, None]:
    """Maps in order with at most `window` results waiting, where `Executor.map` would hold them all."""
    waiting: collections.deque[futures.Future[R]] = collections.deque()
    try:
        for item in items:
            if len(waiting) == window:
                yield waiting.popleft().result()
            waiting.append(pool.submit(function, item))
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
