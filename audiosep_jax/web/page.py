"""The page itself: its layout, and what its button and fields do."""

import re
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiosep_jax.errors import AudioSepError, PageError, shown
from audiosep_jax.plotting.spectrograms import draw_spectrograms
from audiosep_jax.plotting.style import png
from audiosep_jax.separation.api import AudioSep
from audiosep_jax.separation.presence import absence_warning
from audiosep_jax.separation.scale import scale_warning
from audiosep_jax.web import html
from audiosep_jax.web.example_mixtures import EXAMPLES
from audiosep_jax.web.limits import Limits
from audiosep_jax.web.storage import NOT_KEPT, Result, Storage
from audiosep_jax.web.uploads import Sound, playable, read_sound

if TYPE_CHECKING:
    import gradio as gr  # pyright: ignore[reportMissingImports]

Progress = Callable[[float, str], None]
Answer = tuple[html.Html, html.Html, dict[str, Any]]
_SEPARATING = 0.9  # of the whole time
_EMPTY = html.Html('<div class="empty">The sound that you describe, and everything else, appear here.</div>')


class Handlers:
    """The functions behind the page's events; every mistake of the user becomes a sentence on the page.

    `examples` are the files of `EXAMPLES`.
    """

    def __init__(self, model: AudioSep, storage: Storage, limits: Limits, examples: list[Path]) -> None:
        self._model, self._storage, self._limits, self._examples = model, storage, limits, examples

    def separate(
        self, upload: str | None, query: str, without: str, *, session: str, progress: Progress
    ) -> Answer:
        """Separates an upload, whose path the gate has checked; one of the two sentences may be empty.

        Returns a message, the players, and the result for programs: addresses and numbers, or
        {"error": sentence}. `progress` is called with the finished share, 0…1, and the current work.
        """
        query, without = query or "", without or ""
        try:
            self._check_sentences(query, without)
            if upload is None:
                raise PageError("There is no recording: upload or record one first.")
            path = Path(upload)
            sound = self._read(path, session)
        except AudioSepError as error:
            return _failed(str(error))
        try:
            with self._storage.result(session, needs_bytes=sound.result_bytes) as result:
                return self._answer(path, sound, query.strip(), without.strip(), result, progress)
        except AudioSepError as error:
            return _failed(_without_folders(error, path))
        except Exception:
            if not path.exists():
                return _failed(NOT_KEPT)
            traceback.print_exc()
            return _failed(
                "This is a defect of the page, not of your recording: the terminal that serves it says more."
            )

    def _check_sentences(self, query: str, without: str) -> None:
        if not query.strip() and not without.strip():
            raise PageError("Describe the sound that you want, for example: a dog barking.")
        longest = self._limits.query_letters
        for text, name in ((query, "description"), (without, "description of what to leave out")):
            if len(text) > longest:
                raise PageError(
                    f"The {name} has {len(text):,} letters: give one sentence of up to {longest:,}."
                )

    def _answer(
        self, upload: Path, sound: Sound, query: str, without: str, result: Result, progress: Progress
    ) -> Answer:
        started = time.monotonic()

        def advance(done: int, total: int) -> None:
            if result.abandoned.is_set():
                raise PageError("The separation was cancelled: its page was closed, or the command ends.")
            if time.monotonic() - started > self._limits.work_seconds:
                raise PageError(
                    f"The separation was stopped after {self._limits.work_seconds:.0f} s with "
                    f"{done / total:.0%} done: give a shorter recording."
                )
            progress(_SEPARATING * done / total, "separating")

        parts = {name: result.folder / f"{name}.wav" for name in ("estimate", "residual")}
        written = self._model.separate_file(
            upload,
            estimate_path=parts["estimate"],
            residual_path=parts["residual"],
            query=query or None,
            without=without or (),
            progress=advance,
        )
        progress(_SEPARATING, "drawing")
        mixture = playable(upload, result.folder)
        waveforms = {"mixture": sound.drawn}
        waveforms |= {name: read_sound(part, self._limits).drawn for name, part in parts.items()}
        figure = draw_spectrograms(
            waveforms, sample_rate_hz=sound.drawn_hz, across=1, panel_inches=(8.0, 1.9)
        )
        picture = result.folder / "spectrograms.png"
        picture.write_bytes(png(figure))
        files = {"mixture": mixture, **parts, "picture": picture}
        addresses = {name: f"result/{result.token}/{path.name}" for name, path in files.items()}
        level_db = written.level_db
        absent, scale = absence_warning(written.presence, query or without), scale_warning(written.peak)
        warnings = [each for each in (absent, scale and f"The recording's {scale}.") if each]
        warning = " ".join(warnings) or None
        numbers = {
            "seconds": sound.seconds,
            "sample_rate_hz": sound.sample_rate_hz,
            "channels": sound.channels,
            "level_db": level_db if level_db > -float("inf") else None,
            "warning": warning,
        }
        return (
            html.said(sound, warning=warning, work_seconds=time.monotonic() - started),
            html.results(query, without, level_db=level_db, addresses=addresses, name=upload.name),
            {**addresses, **numbers},
        )

    def check(self, upload: str | None, *, session: str) -> tuple[bool, html.Html]:
        """Reads an upload as soon as it is complete; returns whether it can be used, and a message."""
        try:
            if upload is not None:
                self._read(Path(upload), session)
        except PageError as error:
            return False, html.error(str(error))
        return True, html.FIRST

    def _read(self, upload: Path, session: str) -> Sound:
        """Reads an upload of a session; one that cannot be used is removed, and the error says why."""
        self._storage.use(upload, session)
        try:
            return read_sound(upload, self._limits)
        except AudioSepError as error:
            if not upload.exists():
                raise PageError(NOT_KEPT) from error
            self._storage.discard(upload)
            raise PageError(_without_folders(error, upload)) from error

    def example(self, number: int) -> tuple[str, str, str]:
        """Returns the recording and the sentences of an example."""
        chosen = EXAMPLES[number]
        return str(self._examples[number]), chosen.query, chosen.without


def _failed(sentence: str) -> Answer:
    return html.error(sentence), _EMPTY, {"error": sentence}


def _without_folders(error: AudioSepError, upload: Path) -> str:
    """Returns an error's sentence with file names instead of paths on this machine."""
    sentence, name = str(error), shown(upload.name)
    for path in (repr(str(upload)), str(upload)):
        sentence = sentence.replace(path, name)
    folder = upload.parents[2]  # of uploads and results
    return re.sub(rf"{re.escape(str(folder))}[^\s:]*/", "", sentence)


def build(handlers: Handlers, storage: Storage, limits: Limits, *, local: bool) -> "gr.Blocks":
    """Returns the page as Gradio blocks."""
    import gradio as gr  # pyright: ignore[reportMissingImports]

    def separate(upload, query, without, request: gr.Request, progress=gr.Progress()):
        return handlers.separate(upload, query, without, session=_session(request), progress=progress)

    def check(upload, request: gr.Request):
        usable, said = handlers.check(upload, session=_session(request))
        return (gr.skip() if usable else None), said

    def leave(request: gr.Request):
        storage.release(_session(request))

    with gr.Blocks(title=html.TITLE, analytics_enabled=False) as blocks:
        gr.HTML(f"<h1>{html.TITLE}</h1><p>{html.text(html.INTRODUCTION)}</p>", elem_classes=["intro"])
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                upload = gr.Audio(
                    sources=["upload", "microphone"],
                    type="filepath",
                    label="Recording",
                    editable=False,
                    buttons=[],
                    elem_id="recording",
                )
                query = gr.Textbox(
                    label="What do you want to hear?",
                    placeholder="a dog barking",
                    max_length=limits.query_letters,
                    elem_id="query",
                )
                without = gr.Textbox(
                    label="And what not? (optional)",
                    placeholder="rain falling",
                    max_length=limits.query_letters,
                    elem_id="without",
                )
                button = gr.Button("Separate", variant="primary", size="lg", elem_id="separate")
                gr.HTML("<p>Or try one of these:</p>", elem_classes=["rules"])
                with gr.Row(elem_classes=["examples"]):
                    tries = [gr.Button(one.title, size="sm", min_width=180) for one in EXAMPLES]
                rules = html.text(html.house_rules(limits, local=local))
                gr.HTML(f"<p>{rules}</p>", elem_classes=["rules"])
            with gr.Column(scale=7, min_width=360):
                said = gr.HTML(html.FIRST, elem_id="said")
                shown = gr.HTML(_EMPTY, elem_id="shown")
        numbers = gr.JSON(visible=False)

        asked = {"inputs": [upload, query, without], "outputs": [said, shown, numbers]}
        waits = {"concurrency_limit": 1, "concurrency_id": "separation", "show_progress_on": said}
        gr.on([button.click, query.submit, without.submit], separate, **asked, **waits, api_name="separate")
        quiet = {"show_progress": "hidden", "api_visibility": "private"}
        for event in (upload.upload, upload.stop_recording):
            event(check, [upload], [upload, said], **quiet, concurrency_limit=4)
        for number, one in enumerate(tries):
            one.click(lambda number=number: handlers.example(number), None, [upload, query, without], **quiet)
        blocks.unload(leave)
    blocks.queue(max_size=limits.waiting, api_open=False, default_concurrency_limit=4)
    return blocks


def _session(request: Any) -> str:
    return request.session_hash or "no session"
