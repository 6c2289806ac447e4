"""Separation of sound files of any length in constant memory: one reading, any number of results."""

import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from audiosep_jax.audio.containers import format_for, pcm_bits, quantise
from audiosep_jax.audio.files import AudioReader, AudioWriter
from audiosep_jax.audio.residual import split_stems, split_stems_steps
from audiosep_jax.errors import StorageError, printable
from audiosep_jax.separation.stream import EstimateStream

Progress = Callable[[int, int], None]
Pair = tuple[np.ndarray, np.ndarray]

_BLOCK = 1 << 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
    """Where results go that together are the mixture.

    Attributes:
      estimates: one path per estimate, None for what is not written.
      rest: of what no estimate holds, None if it is not written.
    """

    estimates: tuple[Path | None, ...]
    rest: Path | None

    @classmethod
    def of(cls, estimates: Sequence[str | Path | None], rest: str | Path | None) -> "Outputs":
        """Takes paths as users give them."""
        paths = [None if path is None else Path(path) for path in (*estimates, rest)]
        return cls(estimates=tuple(paths[:-1]), rest=paths[-1])

    @property
    def paths(self) -> tuple[Path | None, ...]:
        """All of them, the rest last."""
        return (*self.estimates, self.rest)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """What `separate_file` wrote.

    Attributes:
      subtypes: libsndfile's name of the encoding by path.
      sample_rate_hz, channels, samples: of the input and of all outputs; samples per channel.
      levels_db: energy of every part of every `Outputs` relative to the mixture's; -inf for silence.
      estimates_db: how loud the estimates are for `presence`, in the order of the stream.
    """

    subtypes: dict[Path, str]
    sample_rate_hz: int
    channels: int
    samples: int
    levels_db: tuple[tuple[float, ...], ...]
    estimates_db: tuple[float, ...]


def separate_file(
    path: str | Path,
    *,
    stream_for: Callable[[int, int, int], EstimateStream],
    outputs: Sequence[Outputs],
    progress: Progress | None = None,
) -> Written:
    """Separates a sound file in constant memory; see `AudioSep.separate_file`.

    Args:
      path: the mixture.
      stream_for: (channels, sample rate in Hz, samples) -> the stream that estimates.
      outputs: where the stream's estimates go, in its order; those of one `Outputs` and their rest add up.
      progress: called with the samples done and the samples in all.

    Raises:
      AudioSepError: the input cannot be read, or an output cannot be written or would overwrite another file
        of this call.
    """
    paths = [output for each in outputs for output in each.paths if output is not None]
    _refuse_collisions(Path(path), paths)
    with AudioReader(path) as reader:
        bits = _bits(reader.subtype)
        subtypes = {output: _subtype(output, bits) for output in paths}
        samples, peak = _measure(reader, progress)
        stream = stream_for(reader.channels, reader.sample_rate_hz, samples)
        whole, parts = 0.0, [np.zeros(len(each.paths)) for each in outputs]
        with contextlib.closing(stream), contextlib.ExitStack() as stack:
            writers = {
                output: stack.enter_context(
                    AudioWriter(
                        output,
                        sample_rate_hz=reader.sample_rate_hz,
                        channels=reader.channels,
                        subtype=subtype,
                        samples=samples,
                    )
                )
                for output, subtype in subtypes.items()
            }
            done = 0
            for mixture, estimates in _paired(reader, stream, bits):
                whole += _energy(mixture)
                first = 0
                for each, energies in zip(outputs, parts, strict=True):
                    last = first + len(each.estimates)
                    blocks = _split(mixture, estimates[first:last], bits=bits, peak=peak)
                    first = last
                    energies += [_energy(block) for block in blocks]
                    for output, block in zip(each.paths, blocks, strict=True):
                        if output is not None:
                            writers[output].write(block)
                done += mixture.shape[1]
                if progress is not None:
                    progress(done, samples)
    with np.errstate(divide="ignore"):
        levels = [10 * np.log10(energies / whole) if whole else energies - np.inf for energies in parts]
    return Written(
        subtypes=subtypes,
        sample_rate_hz=reader.sample_rate_hz,
        channels=reader.channels,
        samples=samples,
        levels_db=tuple(tuple(float(level) for level in each) for each in levels),
        estimates_db=tuple(stream.levels_db()),
    )


def _energy(block: np.ndarray) -> float:
    return float(np.square(block.astype(np.float64)).sum())


def _refuse_collisions(path: Path, outputs: list[Path]) -> None:
    taken = [path]
    for output in outputs:
        for other in taken:
            same = output.resolve() == other.resolve()
            if same or (output.exists() and other.exists() and output.samefile(other)):
                raise StorageError(
                    f"{printable(output)} would overwrite {printable(other)}: choose another output."
                )
        taken.append(output)


def _bits(subtype: str) -> int | None:
    """PCM bits of the outputs; None for floating point. Lossy encodings are kept in 24 bits."""
    if subtype in ("FLOAT", "DOUBLE"):
        return None
    bits = pcm_bits(subtype) or 24
    return next(size for size in (8, 16, 24, 32) if size >= bits)


def _subtype(output: Path, bits: int | None) -> str:
    container, _ = format_for(output)
    if bits is None:
        subtype = "FLOAT"
    elif bits == 8:
        subtype = "PCM_U8" if container in ("WAV", "W64", "RF64") else "PCM_S8"
    else:
        subtype = f"PCM_{bits}"
    return format_for(output, subtype)[1]


def _measure(reader: AudioReader, progress: Progress | None) -> tuple[int, float]:
    # Reading everything once finds a file that is cut off before hours are spent on it, and gives the peak
    # that floating-point outputs are rounded by.
    samples, peak = 0, 0.0
    for block in reader.blocks(_BLOCK):
        samples += block.shape[1]
        if progress is not None:
            progress(0, max(samples, reader.samples))
        peak = max(peak, float(np.abs(block).max()))
    return samples, peak


def _paired(reader: AudioReader, stream: EstimateStream, bits: int | None) -> Iterator[Pair]:
    """Yields (mixture, estimates) blocks of equal length; the mixture float32, or int32 if it becomes PCM."""
    waiting: deque[np.ndarray] = deque()
    exact = bits is not None and pcm_bits(reader.subtype) is not None
    for block in reader.blocks(_BLOCK, dtype=np.int32 if exact else np.float32):
        if exact:
            waveform = (block * 2.0**-31).astype(np.float32)
            waiting.append(block)
        else:
            waveform = block
            waiting.append(block if bits is None else quantise(block, bits) << (32 - bits))
        yield from _take(waiting, stream.push(waveform))
    yield from _take(waiting, stream.flush())


def _take(waiting: deque[np.ndarray], estimates: np.ndarray) -> Iterator[Pair]:
    while estimates.shape[-1]:
        mixture = waiting.popleft()
        size = min(mixture.shape[1], estimates.shape[-1])
        if size < mixture.shape[1]:
            waiting.appendleft(mixture[:, size:])
        yield mixture[:, :size], estimates[..., :size]
        estimates = estimates[..., size:]


def _split(mixture: np.ndarray, estimates: np.ndarray, *, bits: int | None, peak: float) -> list[np.ndarray]:
    """Returns the estimates and the rest."""
    if bits is None:
        parts, rest = split_stems(mixture, estimates, peak=peak)
        return [*parts, rest]
    unused = 32 - bits
    steps, rest_steps = split_stems_steps(mixture.astype(np.int64) >> unused, estimates, bits=bits)
    return [(each << unused).astype(np.int32) for each in (*steps, rest_steps)]
