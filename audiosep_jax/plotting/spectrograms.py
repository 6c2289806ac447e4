"""Spectrogram figures: several waveforms on one dB scale."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from audiosep_jax.plotting.style import DPI, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOW_SECONDS = 0.046
COLUMNS = 1200
ROWS = 480
RANGE_DB = 80.0
TICKS_KHZ = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
SMALLEST_TICK_INCHES = 0.2  # of a panel's height, with title and labels


def mel_power(
    waveform: Float[np.ndarray, " samples"],
    *,
    sample_rate_hz: int,
    columns: int = COLUMNS,
    rows: int = ROWS,
) -> Float[np.ndarray, "rows columns"]:
    """Mean power per mel-spaced frequency band and frame, relative to a full-scale sine.

    Hann windows of 46 ms, but at least 8 samples, spread evenly over the waveform. A band is the mean power
    between its edges, so that narrow lines keep their energy at every resolution.

    Args:
      waveform: `[samples]`.
      sample_rate_hz: its rate.
      columns: most frames to return.
      rows: bands from 0 Hz to half the rate.

    Returns:
      `[rows, columns]`, lowest frequency first.
    """
    # At rates of a few hertz, 46 ms are less than a sample.
    window_length = 2 ** max(3, round(np.log2(WINDOW_SECONDS * sample_rate_hz)))
    padded = np.pad(np.asarray(waveform, np.float64), window_length // 2)
    hop = max(window_length // 8, -(-len(waveform) // columns), 1)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window_length)[::hop]
    window = np.hanning(window_length + 1)[:-1]
    power = np.square(np.abs(np.fft.rfft(frames * window))) / (window.sum() / 2) ** 2
    bin_edges = (np.arange(window_length // 2 + 2) - 0.5) * sample_rate_hz / window_length
    cumulative = np.concatenate([np.zeros((len(power), 1)), np.cumsum(power, 1)], 1)
    edges = _hertz(np.linspace(0, _mel(sample_rate_hz / 2), rows + 1))
    position = np.interp(edges, bin_edges, np.arange(len(bin_edges)))
    below = np.floor(position).astype(int)
    above = np.minimum(below + 1, cumulative.shape[1] - 1)
    share = position - below
    at_edges = cumulative[:, below] * (1 - share) + cumulative[:, above] * share
    return (np.diff(at_edges, axis=1) / np.diff(position)).T


def draw_spectrograms(
    waveforms: Mapping[str, Float[np.ndarray, " _"]],
    *,
    sample_rate_hz: int,
    title: str = "",
    across: int | None = None,
    panel_inches: tuple[float, float] = (4.6, 3.5),
) -> "Figure":
    """Draws one panel per waveform, all on one dB scale, with shared axes.

    Args:
      waveforms: `{panel title: [samples]}`.
      sample_rate_hz: rate of all waveforms.
      title: above all panels, such as the query.
      across: panels in a row; None: up to three in a row, and four in a square.
      panel_inches: width and height of a panel.

    Returns:
      A matplotlib figure outside pyplot's global state.
    """
    from matplotlib.figure import Figure

    panels = len(waveforms)
    across = across or (2 if panels == 4 else min(panels, 3))
    down = -(-panels // across)
    wide, high = panel_inches
    figure = Figure(figsize=(wide * across + 1.0, high * down + 0.5), layout="constrained", dpi=DPI)
    axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    powers = {name: mel_power(wave, sample_rate_hz=sample_rate_hz) for name, wave in waveforms.items()}
    reference = max(float(power.max()) for power in powers.values()) or 1.0
    nyquist = sample_rate_hz / 2
    image = None
    for axis, (name, power) in zip(axes.flat, powers.items(), strict=False):
        level = 10 * np.log10(np.maximum(power / reference, 10 ** (-RANGE_DB / 10)))
        image = axis.imshow(
            level,
            origin="lower",
            aspect="auto",
            extent=(0, len(waveforms[name]) / sample_rate_hz, 0, _mel(nyquist)),
            cmap="magma",
            vmin=-RANGE_DB,
            vmax=0,
            interpolation="antialiased",
        )
        # A caption may contain dollar signs; it is not a formula.
        axis.set_title(name, fontsize=11, parse_math=False)
        ticks = _ticks_khz(nyquist, inches=high)
        axis.set_yticks(_mel(1000 * np.array(ticks)), [f"{tick:g}" for tick in ticks])
        axis.label_outer()
    for axis in axes.flat[panels:]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("time (s)")
    for row in axes:
        row[0].set_ylabel("frequency (kHz)")
    if image is not None:
        bar = figure.colorbar(image, ax=axes, pad=0.015, aspect=28)
        bar.set_label("level (dB, 0 = loudest point)")
    if title:
        figure.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
    return figure


def spectrogram_figure(
    waveforms: Mapping[str, Float[np.ndarray, " _"]],
    path: str | Path,
    *,
    sample_rate_hz: int,
    title: str = "",
) -> None:
    """Writes `draw_spectrograms` as an image; the suffix of `path` chooses the format.

    Raises:
      StorageError: the file cannot be written.
    """
    save(draw_spectrograms(waveforms, sample_rate_hz=sample_rate_hz, title=title), path)


def _ticks_khz(nyquist: float, *, inches: float) -> list[float]:
    """Returns the labelled frequencies of a panel, fewer in a low panel."""
    kept: list[float] = []
    for tick in reversed([tick for tick in TICKS_KHZ if tick * 1000 <= nyquist]):
        above = _mel(1000 * kept[-1]) if kept else np.inf
        if above - _mel(1000 * tick) > SMALLEST_TICK_INCHES / inches * _mel(nyquist):
            kept.append(tick)
    return kept[::-1]


def _mel(hertz):
    """Mel scale of O'Shaughnessy (1987)."""
    return 1127 * np.log1p(np.asarray(hertz) / 700)


def _hertz(mel):
    return 700 * np.expm1(np.asarray(mel) / 1127)
