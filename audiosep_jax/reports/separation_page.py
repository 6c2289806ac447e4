"""The page of one mixture separated by several queries: spectrograms, players and numbers."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from audiosep_jax.evals.metrics import energy_ratio_db, separation_metrics
from audiosep_jax.plotting.spectrograms import draw_spectrograms
from audiosep_jax.plotting.style import png, shortened
from audiosep_jax.reports import html_page as pages
from audiosep_jax.reports.players import listen

QUERIES_PER_PICTURE = 4
_TITLE_LETTERS = 72
_HEADER = ("query", "level", "SDR", "SDRi", "SI-SDR", "SI-SDRi")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """The estimate of a query, with the true sound where it is known, each `[channels, samples]`."""

    query: str
    estimate: Float[np.ndarray, "channels samples"]
    residual: Float[np.ndarray, "channels samples"]
    target: Float[np.ndarray, "channels samples"] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeparatedMixture:
    """A mixture, or its first seconds where it is `cut`, with the answers to several queries."""

    name: str
    model: str
    waveform: Float[np.ndarray, "channels samples"]
    sample_rate_hz: int
    cut: bool
    answers: tuple[Answer, ...]

    @property
    def seconds(self) -> float:
        """Length of the waveform."""
        return self.waveform.shape[1] / self.sample_rate_hz


@dataclasses.dataclass(frozen=True, kw_only=True)
class Numbers:
    """Measurements of an answer in dB, over all channels together; None where its target is unknown.

    The level is that of the estimate relative to the mixture.
    """

    level_db: float
    sdr_db: float | None = None
    sdri_db: float | None = None
    si_sdr_db: float | None = None
    si_sdri_db: float | None = None


def measure(answer: Answer, mixture: Float[np.ndarray, "channels samples"]) -> Numbers:
    """Measures an answer at the mixture's rate."""
    estimate, whole = answer.estimate.reshape(-1), mixture.reshape(-1)
    level_db = float(energy_ratio_db(estimate, whole))
    if answer.target is None:
        return Numbers(level_db=level_db)
    measured = separation_metrics(answer.target.reshape(-1), estimate, whole)
    return Numbers(level_db=level_db, **{name: float(value) for name, value in measured.items()})


def write_separation(shown: SeparatedMixture, folder: str | Path) -> list[Path]:
    """Writes `spectrograms.png` (and `-2`, … where there are many queries) and `report.html`.

    Returns the paths, the page first.

    Raises:
      ReportError: the page would be too large.
      StorageError: a file cannot be written.
    """
    numbers = [measure(answer, shown.waveform) for answer in shown.answers]
    pictures = _pictures(shown, numbers)
    page = pages.whole(
        f"{shown.name}: {_count(len(shown.answers), 'query', 'queries')}",
        *_introduction(shown),
        *(
            pages.picture(content, alt=alt, caption=_CAPTION if number == 0 else "")
            for number, (content, alt) in enumerate(pictures.values())
        ),
        *_players(shown, numbers),
        pages.heading("Numbers"),
        _table(shown, numbers),
    )
    path = pages.write_report(
        folder,
        page,
        {name: content for name, (content, _) in pictures.items()},
        advice="show fewer queries, or fewer seconds with --seconds",
    )
    return [path, *(Path(folder) / name for name in pictures)]


_CAPTION = (
    "Spectrograms on one scale: colour is the level in dB, 0 the loudest point of all panels; the frequency "
    "axis is spaced in mel. Channels are averaged."
)


def _pictures(shown: SeparatedMixture, numbers: Sequence[Numbers]) -> dict[str, tuple[bytes, str]]:
    """Returns `{file name: (PNG, alternative text)}`; every picture begins with the mixture."""
    made = {}
    mixture = shown.waveform.mean(axis=0)
    for start in range(0, len(shown.answers), QUERIES_PER_PICTURE):
        panels = {"mixture": mixture}
        for index in range(start, min(start + QUERIES_PER_PICTURE, len(shown.answers))):
            answer, query = shown.answers[index], shortened(shown.answers[index].query, _TITLE_LETTERS)
            if answer.target is not None:
                panels[f"target {index + 1}: “{query}”"] = answer.target.mean(axis=0)
            sdri = numbers[index].sdri_db
            reached = "" if sdri is None else f" (SDRi {sdri:.1f} dB)"
            panels[f"estimate {index + 1}: “{query}”{reached}"] = answer.estimate.mean(axis=0)
        figure = draw_spectrograms(
            panels, sample_rate_hz=shown.sample_rate_hz, across=1, panel_inches=(7.0, 1.9)
        )
        number = start // QUERIES_PER_PICTURE + 1
        alt = (
            f"Spectrograms of {shown.seconds:.1f} s from 0 to {shown.sample_rate_hz / 2000:g} kHz, "
            f"one above the other: {'; '.join(panels)}."
        )
        made["spectrograms.png" if number == 1 else f"spectrograms-{number}.png"] = (png(figure), alt)
    return made


def _introduction(shown: SeparatedMixture) -> list[pages.Html]:
    channels = shown.waveform.shape[0]
    length = f"{shown.seconds:.1f} s, {shown.sample_rate_hz} Hz, {_count(channels, 'channel', 'channels')}"
    lines = [pages.paragraph(f"Separated by the model {shown.model}. The mixture: {length}.")]
    if shown.cut:
        lines.append(
            pages.paragraph(
                f"An excerpt: the recording is longer. Only its first {shown.seconds:.1f} s were separated "
                "and are shown, played and measured here."
            )
        )
    return lines


def _players(shown: SeparatedMixture, numbers: Sequence[Numbers]) -> list[pages.Html]:
    groups = [("Listen", {"mixture": shown.waveform})]
    for index, answer in enumerate(shown.answers):
        sounds = {} if answer.target is None else {"target: the true sound": answer.target}
        sounds[f"estimate ({numbers[index].level_db:+.1f} dB of the mixture)"] = answer.estimate
        sounds["residual: mixture - estimate"] = answer.residual
        groups.append((f"{index + 1}: “{answer.query}”", sounds))
    return listen(groups, sample_rate_hz=shown.sample_rate_hz)


def _table(shown: SeparatedMixture, numbers: Sequence[Numbers]) -> pages.Html:
    rows = [
        (
            answer.query,
            *("–" if value is None else f"{value:.2f}" for value in dataclasses.asdict(found).values()),
        )
        for answer, found in zip(shown.answers, numbers, strict=True)
    ]
    known = "" if any(one.target is not None for one in shown.answers) else " No target was given (–)."
    caption = (
        "In dB, over all channels together. level: the estimate relative to the mixture. The others compare "
        f"with the target; SDRi and SI-SDRi are the gain over the mixture itself.{known}"
    )
    return pages.table(_HEADER, rows, caption=caption)


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
