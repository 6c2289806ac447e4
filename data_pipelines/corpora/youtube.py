"""File names of clips downloaded from YouTube."""

from collections.abc import Iterator


def stems(video: str, *, start: float, end: float, timeless: bool = True) -> Iterator[str]:
    """Yields the names, without suffix, that a clip's file may have.

    A name is the video's identity, also with a "Y" before it (as PANNs and the PyTorch AudioSep write it),
    followed by nothing, `_START`, `_START_END` or `_START-END`. Times are in seconds (`30`, `30.0`, `30.000`,
    `000030`) or milliseconds (`30000`). With `timeless`, which is
    right if the corpus has no other clip of the video, names without times come first.
    """
    if timeless:
        yield video
        yield f"Y{video}"
    times = list(zip(_spellings(start), _spellings(end), strict=True))
    for prefix in ("", "Y"):
        for first, last in times:
            for name in (f"{first}_{last}", f"{first}-{last}", first):
                yield f"{prefix}{video}_{name}"


def _spellings(seconds: float) -> list[str]:
    whole = seconds == int(seconds)
    last = [f"{int(seconds)}", f"{int(seconds):06}"] if whole else [f"{seconds:g}"] * 2
    return [f"{seconds:.1f}", f"{seconds:.3f}", f"{round(seconds * 1000)}", *last]
