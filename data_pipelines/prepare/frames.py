"""The frames of a clip's video: image files, stored unchanged, or images taken from the video."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from audiosep_jax.errors import AudioSepError, DatasetError
from data_pipelines.prepare import video

MAX_PIXELS = 1 << 26
"""Largest size of a frame: far above any video's, far below Pillow's limit for a decompression bomb."""

MAX_PROPORTION = 100
"""Largest ratio of the longer edge of a frame to the shorter one."""

_PATTERN = frozenset("*?[")


def read_frames(root: Path, entries: Sequence[str]) -> tuple[bytes, ...]:
    """Reads whole image files, and decodes each once to check that it is an image.

    Args:
      root: the folder that paths are relative to.
      entries: paths, or patterns such as `frames/a/*.jpg`, whose matches are sorted by name.
        `a.mp4#frames=8` means eight images of a video at equal distances (see
        `data_pipelines.prepare.video`). If a file has exactly this name, it is read instead.

    Raises:
      AudioSepError: an image or a video is missing or damaged, a pattern matches nothing, or PyAV is missing.
    """
    return tuple(image for entry in entries for image in _images(root, entry))


def find(root: Path, entries: Sequence[str]) -> list[Path]:
    """Returns the files that entries name, also absent ones; a pattern without a match names none."""
    found = []
    for entry in entries:
        filmed = video.split_entry(entry)
        if filmed and not (root / entry).is_file():
            found.append(root / filmed[0])
            continue
        with contextlib.suppress(AudioSepError):
            found += _paths(root, entry)
    return found


def _images(root: Path, entry: str) -> Iterator[bytes]:
    filmed = video.split_entry(entry)
    if filmed and not (root / entry).is_file():
        yield from video.read_images(root / filmed[0], filmed[1])
    else:
        yield from map(_read, _paths(root, entry))


def _paths(root: Path, entry: str) -> list[Path]:
    path = root / entry
    try:
        if _PATTERN.isdisjoint(entry) or path.is_file():
            return [path]
        found = sorted(match for match in root.glob(entry) if match.is_file())
    except (OSError, ValueError, NotImplementedError) as error:
        raise DatasetError(f"The frames {path} cannot be searched: {error}.") from error
    if not found:
        raise DatasetError(f"The frames {path} do not exist: no file matches; correct the pattern.")
    return found


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(f"The frame {path} does not exist: correct the path.") from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"The frame {path} cannot be read: {error}.") from error
    try:
        with Image.open(io.BytesIO(content)) as image:
            shape = f"{image.width} × {image.height} pixels"
            if image.width * image.height > MAX_PIXELS:
                raise DatasetError(f"The frame {path} has {shape}: scale it down.")
            if max(image.size) > MAX_PROPORTION * min(image.size):
                raise DatasetError(
                    f"The frame {path} has {shape}: it is too narrow to show anything; leave it out."
                )
            if image.mode in ("I", "F"):
                raise DatasetError(f"The frame {path} holds 32-bit numbers, not colours: convert it.")
            image.convert("RGB")
    except AudioSepError:
        raise
    except Exception as error:  # Pillow's error for a damaged file depends on the format
        raise DatasetError(f"The frame {path} is not a readable image ({error}): replace it.") from error
    return content
