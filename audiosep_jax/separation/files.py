"""Separation of sound files of any length in constant memory, for any number of queries at once."""

import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from audiosep_jax.audio.containers import format_for
from audiosep_jax.audio.levels import LevelMeter
from audiosep_jax.audio.pcm import pcm_bits, quantise
from audiosep_jax.audio.reading import AudioReader
from audiosep_jax.audio.residual import split_stems, split_stems_steps
from audiosep_jax.audio.writing import AudioWriter
from audiosep_jax.errors import UsageError, printable
from audiosep_jax.separation.queries import Query
from audiosep_jax.separation.stream import EstimateStream

Progress = Callable[[int, int], None]
StreamFor = Callable[[int, int, int, float], EstimateStream]
Pair = tuple[np.ndarray, np.ndarray]

_BLOCK = 1 << 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
    """The files of parts that sum to the mixture.

    Attributes:
      estimates: one path per estimate of the stream; None is not written.
      rest: path of the mixture minus the estimates; None is not written.
      rest_is_result: the query has only `without`: its negatives are estimated, and the rest is its result.
    """

    estimates: tuple[Path | None, ...]
    rest: Path | None
    rest_is_result: bool = False

    @classmethod
    def of_query(cls, query: Query, estimate_path: str | Path, residual_path: str | Path | None) -> "Outputs":
        """Returns the outputs of one query: its result, and the residual if that has a path."""
        estimate, residual = Path(estimate_path), None if residual_path is None else Path(residual_path)
        if query.parts:
            return cls(estimates=(estimate,), rest=residual)
        return cls(estimates=(residual,), rest=estimate, rest_is_result=True)

    @classmethod
    def of_stems(cls, stem_paths: Sequence[str | Path], rest_path: str | Path | None) -> "Outputs":
        """Returns the outputs of stems, and of the rest if that has a path."""
        rest = None if rest_path is None else Path(rest_path)
        return cls(estimates=tuple(Path(path) for path in stem_paths), rest=rest)

    @property
    def paths(self) -> tuple[Path | None, ...]:
        """All paths, the rest last."""
        return (*self.estimates, self.rest)

    @property
    def results(self) -> slice:
        """The results of queries among `paths`."""
        return slice(-1, None) if self.rest_is_result else slice(-1)

    @property
    def pairs(self) -> list[tuple[Path, Path | None]]:
        """The paths of result and residual, one pair per query."""
        other = self.estimates[0] if self.rest_is_result else self.rest
        return [(path, other) for path in self.paths[self.results] if path is not None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """What `separate_file` wrote.

    Attributes:
      subtypes: libsndfile's name of the encoding by path.
      sample_rate_hz, channels, samples: of the input and of all outputs; samples per channel.
      levels_db: energy of every query's result relative to the mixture's; -inf for silence.
      presence_levels_db: how loud every query's estimate is, as `presence.Meter` measures it.
      peak: largest magnitude of the input, where full scale is 1.
    """

    subtypes: dict[Path, str]
    sample_rate_hz: int
    channels: int
    samples: int
    levels_db: tuple[float, ...]
    presence_levels_db: tuple[float, ...]
    peak: float


def separate_file(
    reader: AudioReader,
    *,
    stream_for: StreamFor,
    outputs: Sequence[Outputs],
    progress: Progress | None = None,
) -> Written:
    """Separates a sound file in constant memory; see `AudioSep.separate_file`.

    `stream_for` returns the stream for (channels, sample rate in Hz, samples, level in dBFS). The outputs are
    the files of its estimates, in its order; each `Outputs` sums to the mixture. `progress` is called with
    the samples done and the samples in all.

    Raises:
      AudioFileError: the input cannot be read, or an output cannot be written.
      UsageError: an output would overwrite the input or another output.
    """
    paths = [path for each in outputs for path in each.paths if path is not None]
    _refuse_collisions(reader.path, paths)
    bits = _bits(reader.subtype)
    subtypes = {path: _subtype(path, bits) for path in paths}
    samples, peak, level_db = _measure(reader, progress)
    stream = stream_for(reader.channels, reader.sample_rate_hz, samples, level_db)
    whole, energies = 0.0, [np.zeros(len(each.paths)) for each in outputs]
    with contextlib.closing(stream), contextlib.ExitStack() as stack:
        writers = {
            path: stack.enter_context(
                AudioWriter(
                    path,
                    sample_rate_hz=reader.sample_rate_hz,
                    channels=reader.channels,
                    subtype=subtype,
                    samples=samples,
                )
            )
            for path, subtype in subtypes.items()
        }
        done = 0
        for mixture, estimates in _paired(reader, stream, bits):
            whole += _energy(mixture)
            first = 0
            for each, sums in zip(outputs, energies, strict=True):
                last = first + len(each.estimates)
                blocks = _split(mixture, estimates[first:last], bits=bits, peak=peak)
                first = last
                sums += [_energy(block) for block in blocks]
                for path, block in zip(each.paths, blocks, strict=True):
                    if path is not None:
                        writers[path].write(block)
            done += mixture.shape[1]
            if progress is not None:
                progress(done, samples)
    results = np.concatenate([sums[each.results] for each, sums in zip(outputs, energies, strict=True)])
    with np.errstate(divide="ignore"):
        levels = 10 * np.log10(results / whole) if whole else results - np.inf
    return Written(
        subtypes=subtypes,
        sample_rate_hz=reader.sample_rate_hz,
        channels=reader.channels,
        samples=samples,
        levels_db=tuple(levels.tolist()),
        presence_levels_db=tuple(stream.levels_db()),
        peak=peak,
    )


def _energy(block: np.ndarray) -> float:
    return float(np.square(block.astype(np.float64)).sum())


def _refuse_collisions(path: Path, outputs: list[Path]) -> None:
    taken = [path]
    for output in outputs:
        for other in taken:
            same = output.resolve() == other.resolve()
            if same or (output.exists() and other.exists() and output.samefile(other)):
                raise UsageError(
                    f"{printable(output)} would overwrite {printable(other)}: choose another output."
                )
        taken.append(output)


def _bits(subtype: str) -> int | None:
    """PCM bits of the outputs: 24 for lossy inputs, None for floating point."""
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


def _measure(reader: AudioReader, progress: Progress | None) -> tuple[int, float, float]:
    # A first pass over the file finds a truncated file before hours are spent on it, the peak that
    # floating-point outputs are rounded by, and the level, from which the model's gain follows.
    samples, peak = 0, 0.0
    meter = LevelMeter(channels=reader.channels, sample_rate_hz=reader.sample_rate_hz)
    for block in reader.blocks(_BLOCK):
        samples += block.shape[1]
        if progress is not None:
            progress(0, max(samples, reader.samples))
        peak = max(peak, float(np.abs(block).max()))
        meter.push(block)
    return samples, peak, meter.level_db()


def _paired(reader: AudioReader, stream: EstimateStream, bits: int | None) -> Iterator[Pair]:
    """Yields (mixture, estimates) blocks of equal length; the mixture is float32, or int32 for PCM."""
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
