"""Separation of sound files of any length in constant memory: read, resample, window, resample, write."""

import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from audiosep_jax.audio.containers import format_for, pcm_bits, quantise
from audiosep_jax.audio.files import AudioReader, AudioWriter
from audiosep_jax.audio.resample import StreamResampler
from audiosep_jax.audio.residual import split, split_steps
from audiosep_jax.audio.windows import OverlapAdd, WindowPlan
from audiosep_jax.errors import AudioSepError, printable

Process = Callable[[Float32[np.ndarray, "batch window"]], Float32[np.ndarray, "batch window"]]
Progress = Callable[[int, int], None]
Pair = tuple[np.ndarray, np.ndarray]

_BLOCK = 1 << 16


class EstimateStream:
    """Turns the blocks of a mixture into the blocks of its estimate, at the mixture's rate.

    What `push` and `flush` return, joined, has the length of the mixture.

    Args:
      process: the model, `[batch_size, window] -> [batch_size, window]` at the model's rate.
      plan: the windows, in samples at the model's rate.
      grid: samples at the model's rate; the stride and the beginning of every window are multiples of it.
      batch_size: rows in a call of `process`.
      channels: of the mixture.
      sample_rate_hz: of the mixture.
      model_rate_hz: of the model.
      in_flight: calls of `process` that are computed at once.
      lead: samples of silence at the model's rate that the windows hear before the mixture, less than one
        window. Nothing of them is returned.
    """

    def __init__(
        self,
        process: Process,
        *,
        plan: WindowPlan,
        grid: int,
        batch_size: int,
        channels: int,
        sample_rate_hz: int,
        model_rate_hz: int,
        in_flight: int = 1,
        lead: int = 0,
    ) -> None:
        self._plan, self._grid, self._lead = plan, grid, lead
        self._down = StreamResampler(channels=channels, from_hz=sample_rate_hz, to_hz=model_rate_hz)
        self._windows = OverlapAdd(
            process, plan=plan, channels=channels, batch_size=batch_size, in_flight=in_flight
        )
        self._up = StreamResampler(channels=channels, from_hz=model_rate_hz, to_hz=sample_rate_hz)
        self._missing = 0  # samples pushed and not returned
        self._windows.push(np.zeros((channels, lead), np.float32))
        self._last, self._length = np.zeros((channels, 0), np.float32), lead  # at the model's rate

    def push(self, mixture: Float[np.ndarray, "channels samples"]) -> Float32[np.ndarray, "channels out"]:
        """Takes the next samples and returns those of the estimate that are finished, possibly none."""
        self._missing += mixture.shape[1]
        estimate = self._behind_lead(self._window(self._down.push(mixture)))
        return self._return(self._up.push(estimate))

    def flush(self) -> Float32[np.ndarray, "channels out"]:
        """Returns the rest. Nothing can be pushed afterwards."""
        rest = [self._window(self._down.flush()), self._windows.push(self._padding()), self._windows.flush()]
        last = [self._up.push(self._behind_lead(np.concatenate(rest, axis=1))), self._up.flush()]
        return self._return(np.concatenate(last, axis=1))

    def close(self) -> None:
        """Gives up what is not computed. Nothing can be pushed afterwards."""
        self._windows.close()

    def _window(self, waveform: np.ndarray) -> np.ndarray:
        self._length += waveform.shape[1]
        self._last = np.concatenate([self._last, waveform], axis=1)[:, -self._grid - 1 :]
        return self._windows.push(waveform)

    def _behind_lead(self, estimate: np.ndarray) -> np.ndarray:
        skipped = min(self._lead, estimate.shape[1])
        self._lead -= skipped
        return estimate[:, skipped:]

    def _padding(self) -> np.ndarray:
        # The last window ends with what is pushed. Off the grid the model pools other frames together, and
        # its estimate differs by some -15 dB from that of its neighbours; mirrored sound puts it on the grid.
        beyond = self._length - self._plan.window
        size = -beyond % self._grid if beyond > 0 else 0
        return np.pad(self._last, ((0, 0), (0, size)), mode="reflect")[:, self._last.shape[1] :]

    def _return(self, estimate: np.ndarray) -> np.ndarray:
        # Down and up again rounds the length up twice.
        estimate = estimate[:, : self._missing]
        self._missing -= estimate.shape[1]
        return estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSeparation:
    """What `separate_file` wrote.

    Attributes:
      estimate_path: the described sound.
      residual_path: everything else; None if it was not asked for.
      subtype: libsndfile's name of the encoding of both.
      sample_rate_hz, channels, samples: of the input and of both outputs; samples per channel.
      level_db: energy of the estimate relative to the mixture's; -inf for silence.
    """

    estimate_path: Path
    residual_path: Path | None
    subtype: str
    sample_rate_hz: int
    channels: int
    samples: int
    level_db: float


def separate_file(
    path: str | Path,
    *,
    stream_for: Callable[[int, int, int], EstimateStream],
    estimate_path: str | Path,
    residual_path: str | Path | None = None,
    progress: Progress | None = None,
) -> FileSeparation:
    """Separates a sound file in constant memory; see `AudioSep.separate_file`.

    Args:
      path: the mixture.
      stream_for: (channels, sample rate in Hz, samples) -> the stream that estimates.
      estimate_path: where the estimate goes.
      residual_path: where the residual goes, if anywhere.
      progress: called with the samples done and the samples in all.

    Raises:
      AudioSepError: the input cannot be read, or an output cannot be written or would overwrite another file
        of this call.
    """
    outputs = [Path(output) for output in (estimate_path, residual_path) if output is not None]
    _refuse_collisions(Path(path), outputs)
    with AudioReader(path) as reader:
        bits = _bits(reader.subtype)
        subtypes = [_subtype(output, bits) for output in outputs]
        samples, peak = _measure(reader)
        stream = stream_for(reader.channels, reader.sample_rate_hz, samples)
        energies = np.zeros(2)
        with contextlib.closing(stream), contextlib.ExitStack() as stack:
            writers = [
                stack.enter_context(
                    AudioWriter(
                        output,
                        sample_rate_hz=reader.sample_rate_hz,
                        channels=reader.channels,
                        subtype=subtype,
                        samples=samples,
                    )
                )
                for output, subtype in zip(outputs, subtypes, strict=True)
            ]
            done = 0
            for mixture, estimate in _paired(reader, stream, bits):
                parts = _split(mixture, estimate, bits=bits, peak=peak)
                for writer, part in zip(writers, parts, strict=False):
                    writer.write(part)
                energies += [np.square(part.astype(np.float64)).sum() for part in (mixture, parts[0])]
                done += estimate.shape[1]
                if progress is not None:
                    progress(done, samples)
    with np.errstate(divide="ignore", invalid="ignore"):
        level_db = 10 * np.log10(energies[1] / energies[0]) if energies[0] else -np.inf
    return FileSeparation(
        estimate_path=outputs[0],
        residual_path=outputs[1] if len(outputs) > 1 else None,
        subtype=subtypes[0],
        sample_rate_hz=reader.sample_rate_hz,
        channels=reader.channels,
        samples=samples,
        level_db=float(level_db),
    )


def _refuse_collisions(path: Path, outputs: list[Path]) -> None:
    taken = [path]
    for output in outputs:
        for other in taken:
            same = output.resolve() == other.resolve()
            if same or (output.exists() and other.exists() and output.samefile(other)):
                raise AudioSepError(
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


def _measure(reader: AudioReader) -> tuple[int, float]:
    # Reading everything once finds a file that is cut off before hours are spent on it, and gives the peak
    # that floating-point outputs are rounded by.
    samples, peak = 0, 0.0
    for block in reader.blocks(_BLOCK):
        samples += block.shape[1]
        peak = max(peak, float(np.abs(block).max()))
    return samples, peak


def _paired(reader: AudioReader, stream: EstimateStream, bits: int | None) -> Iterator[Pair]:
    """Yields (mixture, estimate) blocks of equal length; the mixture float32, or int32 if it becomes PCM."""
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


def _take(waiting: deque[np.ndarray], estimate: np.ndarray) -> Iterator[Pair]:
    while estimate.shape[1]:
        mixture = waiting.popleft()
        size = min(mixture.shape[1], estimate.shape[1])
        if size < mixture.shape[1]:
            waiting.appendleft(mixture[:, size:])
        yield mixture[:, :size], estimate[:, :size]
        estimate = estimate[:, size:]


def _split(mixture: np.ndarray, estimate: np.ndarray, *, bits: int | None, peak: float) -> Pair:
    if bits is None:
        return split(mixture, estimate, peak=peak)
    unused = 32 - bits
    steps, residual_steps = split_steps(mixture.astype(np.int64) >> unused, estimate, bits=bits)
    return (steps << unused).astype(np.int32), (residual_steps << unused).astype(np.int32)
