"""File names of clips downloaded from YouTube."""

from collections.abc import Iterator


def stems(video: str, *, start: float, end: float, timeless: bool = True) -> Iterator[str]:
    """Yields the names, without suffix, that a clip's file may have.

    A name is the video's identity, also with a "Y" before it (as PANNs and the PyTorch AudioSep write it),
    followed by nothing, `_START`, `_START_END` or `_START-END`. Times are in seconds (`30`, `30.0`, `30.000`,
    `000030`) or milliseconds (`30000`).

    Args:
      video: YouTube's eleven characters.
      start: of the clip in the video, in seconds.
      end: of the clip in the video, in seconds.
      timeless: whether to yield names without times; right if the corpus has no other clip of the video.
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
    texts = [f"{seconds:.1f}", f"{seconds:.3f}", f"{round(seconds * 1000)}"]
    if seconds == int(seconds):
        texts += [f"{int(seconds)}", f"{int(seconds):06}"]
    else:
        texts += [f"{seconds:g}", f"{seconds:g}"]
    return texts
