"""The first seconds of a recording, as many as a page can hold, and its targets."""

import dataclasses
import math
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from audiosep_jax.audio.reading import AudioReader
from audiosep_jax.audio.resample import resample
from audiosep_jax.errors import ReportError, printable
from audiosep_jax.reports.html_page import LARGEST_PAGE_BYTES
from audiosep_jax.reports.players import check_rate, largest_bytes

# Pictures, tables and the page itself.
_KEPT_BYTES = 6_000_000
# Codecs pad: an encoded target differs in length from its mixture by a few milliseconds.
_TOLERATED_SECONDS = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Excerpt:
    """A recording, or its beginning where it is `cut`."""

    waveform: Float32[np.ndarray, "channels samples"]
    sample_rate_hz: int
    cut: bool


def longest_seconds(path: str | Path, *, sounds: int) -> float:
    """Returns how many seconds of several sounds with a recording's rate and channels one page holds.

    Raises:
      AudioFileError: the file is no sound.
      ReportError: browsers do not play its rate, or a page holds less than a tenth of a second of the sounds.
    """
    with AudioReader(path) as reader:
        rate, channels = reader.sample_rate_hz, reader.channels
    check_rate(rate, name=printable(path))
    room = LARGEST_PAGE_BYTES - _KEPT_BYTES - largest_bytes(0, channels, sounds)
    seconds = room / (largest_bytes(rate, channels, sounds) - largest_bytes(0, channels, sounds))
    if seconds < 0.1:
        raise ReportError(f"{sounds} sounds are too many for one page: give fewer queries.")
    return math.floor(10 * seconds) / 10


def read_excerpt(path: str | Path, *, seconds: float) -> Excerpt:
    """Reads the first seconds of a recording block by block, because it may be hours long.

    Raises:
      AudioFileError: the file cannot be read.
    """
    with AudioReader(path) as reader:
        rate, blocks, wanted = reader.sample_rate_hz, [], max(1, round(seconds * reader.sample_rate_hz))
        # One sample more shows whether the recording is longer.
        missing = wanted + 1
        for block in reader.blocks():
            blocks.append(block[:, :missing])
            missing -= blocks[-1].shape[1]
            if not missing:
                break
    waveform = np.concatenate(blocks, axis=1)
    return Excerpt(
        waveform=np.ascontiguousarray(waveform[:, :wanted]),
        sample_rate_hz=rate,
        cut=waveform.shape[1] > wanted,
    )


def read_target(
    path: str | Path, excerpt: Excerpt, *, mixture: str | Path
) -> Float32[np.ndarray, "channels samples"]:
    """Reads the target of an excerpt of `mixture`, with the excerpt's rate, channels and length.

    The file is as long as the mixture; a mono file is used for all channels.

    Raises:
      AudioFileError: the file cannot be read.
      ReportError: the file differs from the mixture in length or number of channels.
    """
    channels, samples = excerpt.waveform.shape
    rate = excerpt.sample_rate_hz
    # A little more than is needed, because resampling uses later samples, too.
    read = read_excerpt(path, seconds=samples / rate + 2 * _TOLERATED_SECONDS)
    waveform = read.waveform
    if len(waveform) not in (1, channels):
        raise ReportError(
            f"the target {printable(path)} has {len(waveform)} channels and {printable(mixture)} has "
            f"{channels}: give a target with one channel or as many as the mixture."
        )
    if read.sample_rate_hz != rate:
        waveform = resample(waveform, from_hz=read.sample_rate_hz, to_hz=rate)
    missing = (samples - waveform.shape[1]) / rate
    if missing > _TOLERATED_SECONDS or (not excerpt.cut and -missing > _TOLERATED_SECONDS):
        raise ReportError(
            f"the target {printable(path)} is not as long as {printable(mixture)}: give the target for the "
            "whole length of the mixture."
        )
    fitted = np.zeros((len(waveform), samples), np.float32)
    kept = waveform[:, :samples]
    fitted[:, : kept.shape[1]] = kept
    return np.ascontiguousarray(np.broadcast_to(fitted, (channels, samples)))
