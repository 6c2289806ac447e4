"""One press of the button: an upload and sentences in; files, a picture and what is to be said out."""

import dataclasses
import re
import time
from collections.abc import Callable
from pathlib import Path

from audiosep_jax.errors import AudioSepError, PageError, shown
from audiosep_jax.plotting.spectrograms import draw_spectrograms
from audiosep_jax.plotting.style import png
from audiosep_jax.separation.api import AudioSep
from audiosep_jax.separation.presence import absence_warning
from audiosep_jax.web.limits import Limits
from audiosep_jax.web.storage import Result
from audiosep_jax.web.uploads import Sound, playable, read_sound

Progress = Callable[[float, str], None]
_SEPARATING = 0.9  # of the whole time


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """What a page asks for.

    Attributes:
      upload: the recording.
      query: a sentence, possibly empty.
      without: what must not be in the estimate, possibly empty.
    """

    upload: Path
    query: str
    without: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a page gets.

    Attributes:
      mixture, estimate, residual: files in the folder of the result.
      sound: of the mixture.
      level_db: energy of the estimate relative to the mixture's.
      warning: a sentence, where the query seems absent.
      picture: the three spectrograms as PNG.
      work_seconds: how long it took.
    """

    mixture: Path
    estimate: Path
    residual: Path
    sound: Sound
    level_db: float
    warning: str | None
    picture: Path
    work_seconds: float


def check_question(query: str, without: str, limits: Limits) -> None:
    """Checks the sentences.

    Raises:
      AudioSepError: both are empty, or one is too long.
    """
    if not query.strip() and not without.strip():
        raise PageError("Describe the sound that you want, for example: a dog barking.")
    for text, name in ((query, "description"), (without, "description of what to leave out")):
        if len(text) > limits.query_letters:
            raise PageError(
                f"The {name} has {len(text):,} letters: one sentence of up to {limits.query_letters:,} is "
                "needed."
            )


def answer(
    question: Question,
    sound: Sound,
    *,
    model: AudioSep,
    result: Result,
    limits: Limits,
    progress: Progress = lambda share, what: None,
) -> Answer:
    """Separates an upload.

    Args:
      question: what is asked for.
      sound: what is known of the upload.
      model: that separates.
      result: where the files go, and whether somebody waits for them.
      limits: of the page.
      progress: called with the share that is done, from 0 to 1, and what is being done.

    Raises:
      AudioSepError: a sentence cannot be used, or the separation takes too long.
    """
    started = time.monotonic()

    folder = result.folder

    def advance(done: int, total: int) -> None:
        if result.abandoned.is_set():
            raise PageError("Nobody waits for this separation any more.")
        if time.monotonic() - started > limits.work_seconds:
            raise PageError(
                f"The separation was given up after {limits.work_seconds:.0f} s, when {done / total:.0%} was "
                "done: give a shorter recording."
            )
        progress(_SEPARATING * done / total, "separating")

    query, without = question.query.strip(), question.without.strip()
    written = model.separate_file(
        question.upload,
        estimate_path=folder / "estimate.wav",
        residual_path=folder / "residual.wav",
        query=query or None,
        without=without or (),
        progress=advance,
    )
    progress(_SEPARATING, "drawing")
    mixture = playable(question.upload, folder)
    estimate, residual = folder / "estimate.wav", folder / "residual.wav"
    return Answer(
        mixture=mixture,
        estimate=estimate,
        residual=residual,
        sound=sound,
        level_db=written.level_db,
        warning=absence_warning(written.presence, query or without),
        picture=_draw(
            sound, {"estimate": estimate, "residual": residual}, folder / "spectrograms.png", limits
        ),
        work_seconds=time.monotonic() - started,
    )


def worded(error: AudioSepError, upload: Path) -> str:
    """Returns an error's sentence with names of files in place of their paths on this machine."""
    sentence, name = str(error), shown(upload.name)
    for path in (repr(str(upload)), str(upload)):
        sentence = sentence.replace(path, name)
    folder = upload.parents[2]  # of uploads and results
    return re.sub(rf"{re.escape(str(folder))}[^\s:]*/", "", sentence)


def _draw(sound: Sound, parts: dict[str, Path], path: Path, limits: Limits) -> Path:
    waveforms = {"mixture": sound.drawn}
    waveforms |= {name: read_sound(part, limits).drawn for name, part in parts.items()}
    figure = draw_spectrograms(waveforms, sample_rate_hz=sound.drawn_hz, across=1, panel_inches=(8.0, 1.9))
    path.write_bytes(png(figure))
    return path
