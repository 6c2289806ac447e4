"""The sound of a clip: decoded, cut, trimmed, at one rate and one level."""

import io

import numpy as np
import soundfile
from jaxtyping import Float32

from audiosep_jax.audio.resample import resample
from audiosep_jax.errors import MissingPackageError
from data_pipelines.corpora.open_sounds.archives import ArchiveError

RATE_HZ = 32_000
"""Sample rate of the clips."""

PEAK, MOST_GAIN = 0.7, 10 ** (24 / 20)
"""A clip's peak, unless that needs a larger gain (24 dB)."""

G722 = ".g722"
"""Suffix of telephone prompts."""

LOWEST_RMS = 10 ** (-50 / 20)
"""A quieter clip is left out."""

_SILENCE = 10 ** (-50 / 20)  # relative to the peak
_MARGIN_SECONDS, _FADE_SECONDS = 0.01, 0.005

Mono = Float32[np.ndarray, " samples"]


def decode(name: str, content: bytes) -> tuple[Mono, int]:
    """Returns the sound of a file as mono, and its sample rate.

    Raises:
      ArchiveError: the file is no sound.
    """
    try:
        if name.endswith(G722):
            return _decode_g722(content), 16_000
        sound, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        raise ArchiveError(f"{name} is no sound that can be decoded ({error})") from error
    return sound.mean(axis=1), rate_hz


def check_g722() -> None:
    """Checks that G.722 can be decoded.

    Raises:
      MissingPackageError: PyAV is not installed.
    """
    try:
        import av  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingPackageError(
            "The telephone prompts of open_sounds are G.722, which needs PyAV: "
            "pip install 'audiosep_jax[open-sounds]'."
        ) from None


def cut(sound: Mono, rate_hz: int, *, start: float, seconds: float) -> Mono:
    """Returns a part of a sound at `RATE_HZ`, faded in and out where it was cut out of a longer sound."""
    first, end = round(start * rate_hz), round((start + seconds) * rate_hz)
    part = resample(sound[first:end], from_hz=rate_hz, to_hz=RATE_HZ).copy()
    fade = min(round(_FADE_SECONDS * RATE_HZ), len(part))
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    if first > 0:
        part[:fade] *= ramp
    if end < len(sound) and fade:
        part[-fade:] *= ramp[::-1]
    return part


def trim(sound: Mono, *, rate_hz: int = RATE_HZ) -> Mono:
    """Returns a sound without the silence at both ends."""
    loud = np.flatnonzero(np.abs(sound) > _SILENCE * np.max(np.abs(sound), initial=0.0))
    if not len(loud):
        return sound[:0]
    margin = round(_MARGIN_SECONDS * rate_hz)
    return sound[max(0, loud[0] - margin) : loud[-1] + 1 + margin]


def level(sound: Mono) -> Mono:
    """Returns a sound with the peak of all clips; see `PEAK`."""
    peak = float(np.max(np.abs(sound), initial=0.0))
    return sound * np.float32(min(PEAK / peak, MOST_GAIN)) if peak else sound


def is_quiet(sound: Mono) -> bool:
    """Returns whether a clip is silent, or too quiet for the corpus."""
    return not len(sound) or float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) < LOWEST_RMS


def pcm(sound: Mono) -> np.ndarray:
    """Returns a sound in [-1, 1) as int16 `[samples]`."""
    return np.clip(np.rint(sound * np.float32(32_768)), -32_768, 32_767).astype(np.int16)


def _decode_g722(content: bytes) -> Mono:
    import av  # pyright: ignore[reportMissingImports]
    from av.error import FFmpegError  # pyright: ignore[reportMissingImports]

    try:
        with av.open(io.BytesIO(content), "r", format="g722") as container:
            frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    except FFmpegError as error:
        raise ValueError(str(error)) from error
    return np.concatenate(frames).astype(np.float32) / np.float32(32_768)
