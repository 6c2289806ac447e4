"""Reads sound and images of videos, and sound files that libsndfile cannot decode, through PyAV."""

import contextlib
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from audiosep_jax.audio.reading import read_audio
from audiosep_jax.audio.resample import resample
from audiosep_jax.errors import AudioFileError, MissingPackageError, printable, shown

if TYPE_CHECKING:
    import av  # pyright: ignore[reportMissingImports]
    import av.container  # pyright: ignore[reportMissingImports]

CONTAINER_SUFFIXES = (".m4a", ".aac", ".mp4", ".m4v", ".webm", ".mkv", ".mov", ".avi")
"""Files that PyAV reads; libsndfile reads all others."""

FRAME_EDGE = 336
"""Largest shorter edge of a stored image in pixels; no CLIP tower uses more."""

MISSING_SHARE, MISSING_SECONDS = 0.05, 0.25
"""Sound may end this much before its video: the sum of both. If more is missing, the file was cut off."""

_FRAMES = re.compile(r"(?P<video>.+)#frames=(?P<count>\d+)")


def read_sound(path: Path, *, sample_rate_hz: int) -> Float32[np.ndarray, " samples"]:
    """Reads the sound of a file, sound alone or video, as mono at one rate.

    Raises:
      AudioFileError: the file is missing, damaged, cut off or has no sound.
      MissingPackageError: the file needs PyAV, which is not installed.
    """
    if path.suffix.lower() not in CONTAINER_SUFFIXES:
        return read_audio(path, sample_rate_hz=sample_rate_hz, mono=True).waveform[0]
    name = printable(path)
    with _opened(path) as container:
        if not container.streams.audio:
            raise AudioFileError(f"{name} has no sound: leave the file out.")
        stream = container.streams.audio[0]
        rate = stream.rate
        length = stream.duration * stream.time_base if stream.duration and stream.time_base else None
        seconds = float(length if length is not None else (container.duration or 0) / 1_000_000)
        blocks = [_mono(frame) for frame in container.decode(stream)]
    samples = sum(map(len, blocks))
    if not samples:
        raise AudioFileError(f"{name} holds no samples: get a complete copy of the file.")
    if samples < ((1 - MISSING_SHARE) * seconds - MISSING_SECONDS) * rate:
        raise AudioFileError(
            f"{name} is cut off: {samples / rate:.1f} s of {seconds:.1f} s can be decoded; get a complete "
            "copy of the file."
        )
    waveform = np.concatenate(blocks)
    if not np.isfinite(waveform).all():
        raise AudioFileError(f"{name} holds NaN or infinite samples: write it again without them.")
    if rate == sample_rate_hz:
        return waveform
    return resample(waveform[None], from_hz=rate, to_hz=sample_rate_hz)[0]


def _mono(frame: "av.AudioFrame") -> np.ndarray:
    """Returns the mean of a frame's channels, float32 `[samples]` in [-1, 1]."""
    samples: np.ndarray = frame.to_ndarray()
    channels = frame.layout.nb_channels
    if not frame.format.is_planar:
        samples = samples.reshape(-1, channels).T
    if samples.dtype.kind == "u":
        samples = samples.astype(np.float32) - 128
        samples /= 128
    elif samples.dtype.kind == "i":
        samples = samples / np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
    return samples.mean(axis=0, dtype=np.float32).astype(np.float32)


def split_entry(entry: str) -> tuple[str, int] | None:
    """Returns the video and the number of images of an entry, None for one without `#frames=`.

    >>> split_entry("a.mp4#frames=8")
    ('a.mp4', 8)
    """
    found = _FRAMES.fullmatch(entry)
    return (found["video"], int(found["count"])) if found else None


def read_images(path: Path, count: int) -> Iterator[bytes]:
    """Yields images of a video as JPEG files, one from the middle of each of `count` equal parts.

    Raises:
      AudioFileError: the video is missing, damaged or has no images.
      MissingPackageError: PyAV is not installed.
    """
    with _opened(path) as container:
        if not container.streams.video:
            raise AudioFileError(f"{printable(path)} has no images, only sound: leave its frames out.")
        seconds = (container.duration or 0) / 1_000_000
        for number in range(count):
            yield _image(container, (number + 0.5) * seconds / count)


def _image(container: "av.container.InputContainer", seconds: float) -> bytes:
    """Returns the image shown at a time, or the last image if the video ends earlier."""
    container.seek(int(seconds * 1_000_000))
    image = None
    for frame in container.decode(video=0):
        if image is not None and (frame.time or 0.0) > seconds:
            break
        image = frame
    if image is None:
        raise ValueError(f"no image at {seconds:.2f} s")
    picture = image.to_image()
    edge = min(picture.size)
    if edge > FRAME_EDGE:
        width, height = (max(1, round(side * FRAME_EDGE / edge)) for side in picture.size)
        picture = picture.resize((width, height))
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=92)
    return file.getvalue()


def check_installed(paths: Iterable[Path]) -> None:
    """Checks that PyAV is installed if one of some files is there and needs it.

    Raises:
      MissingPackageError: PyAV is not installed.
    """
    for path in paths:
        if path.suffix.lower() in CONTAINER_SUFFIXES and path.exists():
            _import_av(path)
            return


def _import_av(path: Path) -> None:
    try:
        import av  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingPackageError(
            f"{printable(path)} needs the package av, which reads videos: pip install 'audiosep_jax[video]'."
        ) from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator["av.container.InputContainer"]:
    """Opens a file; an error in the block becomes an `AudioFileError`."""
    name = printable(path)
    if not path.exists():
        raise AudioFileError(f"{name} does not exist: check the path.")
    _import_av(path)
    import av  # pyright: ignore[reportMissingImports]
    from av.error import FFmpegError  # pyright: ignore[reportMissingImports]

    try:
        with av.open(str(path)) as container:
            yield container
    except (FFmpegError, OSError, ValueError) as error:
        raise AudioFileError(
            f"{name} cannot be decoded as video or sound ({shown(error)}): get a complete copy of it."
        ) from error
