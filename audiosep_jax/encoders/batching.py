"""Padded batches of few shapes, so that few programs are compiled."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int

# The number of tokens is a power of two, the number of texts a power of four.
SHORTEST = 16
LARGEST_BATCH = 64
TOKENS_PER_BATCH = 4096


def batches(
    tokens: Sequence[Sequence[int]], *, max_tokens: int, padding_id: int = 0
) -> Iterator[tuple[list[int], Int[np.ndarray, "batch length"], Bool[np.ndarray, "batch length"]]]:
    """Groups texts of similar length into padded batches of few shapes, of at most `max_tokens` columns.

    Yields:
      The indices of the batch's texts in `tokens`, token ids (`padding_id` where the mask is false), and the
      mask of true tokens. A batch may have more rows than texts; the rows after the last text are padding.
    """
    by_length: dict[int, list[int]] = {}
    for row, ids in enumerate(tokens):
        length = min(max(SHORTEST, 1 << (len(ids) - 1).bit_length()), max_tokens)
        by_length.setdefault(length, []).append(row)
    for length, members in sorted(by_length.items()):
        largest = max(1, min(LARGEST_BATCH, TOKENS_PER_BATCH // length))
        for start in range(0, len(members), largest):
            rows = members[start : start + largest]
            batch = next(size for size in (1, 4, 16, largest) if size >= min(len(rows), largest))
            token_ids = np.full((batch, length), padding_id, np.int32)
            mask = np.zeros((batch, length), bool)
            # One token in each padding row, because the mean over no tokens divides by zero.
            mask[len(rows) :, 0] = True
            for place, row in enumerate(rows):
                token_ids[place, : len(tokens[row])] = tokens[row]
                mask[place, : len(tokens[row])] = True
            yield rows, token_ids, mask


def fixed_batches(count: int, sizes: Sequence[int]) -> Iterator[tuple[range, int]]:
    """Yields the indices of consecutive items, and the smallest of the ascending `sizes` that holds them.

    Examples:
      >>> list(fixed_batches(6, (1, 4)))
      [(range(0, 4), 4), (range(4, 6), 4)]
    """
    for start in range(0, count, sizes[-1]):
        rows = range(start, min(start + sizes[-1], count))
        yield rows, next(size for size in sizes if size >= len(rows))
