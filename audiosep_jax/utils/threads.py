"""Work in threads whose results are read in order."""

import collections
from collections.abc import Callable, Generator, Iterable
from concurrent import futures
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(function: Callable[[T], R], items: Iterable[T], *, workers: int) -> Generator[R, None, None]:
    """Yields `function(item)` for each item, in order; threads compute at most `2 · workers` items ahead.

    `Executor.map` would compute all of them and keep all results. After the generator is closed, no further
    item is begun.

    >>> list(map_ahead(abs, (-1, 2, -3), workers=2))
    [1, 2, 3]
    """
    waiting: collections.deque[futures.Future[R]] = collections.deque()
    with futures.ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                if len(waiting) == 2 * workers:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(function, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
