"""The page itself: what is on it, and what happens when something on it is pressed."""

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiosep_jax.errors import AudioSepError, PageError
from audiosep_jax.separation.api import AudioSep
from audiosep_jax.web import html
from audiosep_jax.web.answers import Progress, Question, answer, check_question, worded
from audiosep_jax.web.example_mixtures import EXAMPLES
from audiosep_jax.web.limits import Limits
from audiosep_jax.web.storage import NOT_KEPT, Storage
from audiosep_jax.web.uploads import Sound, read_sound

if TYPE_CHECKING:
    import gradio as gr  # pyright: ignore[reportMissingImports]

_EMPTY = html.Html('<div class="empty">What you asked for, and everything else, appears here.</div>')


class Handlers:
    """What happens when something is pressed; every mistake ends in a sentence on the page.

    Args:
      model: that separates.
      storage: of uploads and results.
      limits: of the page.
      examples: files of `EXAMPLES`.
    """

    def __init__(self, model: AudioSep, storage: Storage, limits: Limits, examples: list[Path]) -> None:
        self._model, self._storage, self._limits, self._examples = model, storage, limits, examples

    def separate(
        self, upload: str | None, query: str, without: str, *, session: str, progress: Progress
    ) -> tuple[html.Html, html.Html, dict[str, Any]]:
        """Separates an upload.

        Args:
          upload: its path, which the gate has seen; None where there is none.
          query: what to hear, possibly empty.
          without: what not to hear, possibly empty.
          session: of the page.
          progress: called with the share that is done, and what is being done.

        Returns:
          What is said, the players, and the same for programs: addresses and numbers, or {"error": sentence}.
        """
        try:
            check_question(query or "", without or "", self._limits)
            if upload is None:
                raise PageError("There is no recording: upload or record one first.")
        except AudioSepError as error:
            return html.error(str(error)), _EMPTY, {"error": str(error)}
        sound, sentence = self._read(Path(upload), session)
        if sound is None:
            return html.error(sentence), _EMPTY, {"error": sentence}
        question = Question(upload=Path(upload), query=query or "", without=without or "")
        try:
            with self._storage.result(session, needs_bytes=sound.result_bytes) as result:
                found = answer(
                    question,
                    sound,
                    model=self._model,
                    result=result,
                    limits=self._limits,
                    progress=progress,
                )
        except AudioSepError as error:
            sentence = worded(error, question.upload)
            return html.error(sentence), _EMPTY, {"error": sentence}
        except Exception:
            if not question.upload.exists():
                return html.error(NOT_KEPT), _EMPTY, {"error": NOT_KEPT}
            traceback.print_exc()
            sentence = (
                "This is a defect of the page, not of your recording: the terminal that serves it says more."
            )
            return html.error(sentence), _EMPTY, {"error": sentence}
        addresses = {
            name: f"result/{result.token}/{path.name}"
            for name, path in (
                ("mixture", found.mixture),
                ("estimate", found.estimate),
                ("residual", found.residual),
                ("picture", found.picture),
            )
        }
        numbers = {
            "seconds": found.sound.seconds,
            "sample_rate_hz": found.sound.sample_rate_hz,
            "channels": found.sound.channels,
            "level_db": found.level_db if found.level_db > -float("inf") else None,
            "warning": found.warning,
        }
        shown = html.results(found, question, addresses, name=question.upload.name)
        return html.said(found), shown, {**addresses, **numbers}

    def check(self, upload: str | None, *, session: str) -> tuple[bool, html.Html]:
        """Looks at an upload as soon as it is there; what is of no use is removed at once.

        Returns:
          Whether it can be used, and what is said.
        """
        if upload is None:
            return True, html.FIRST
        sound, sentence = self._read(Path(upload), session)
        return sound is not None, html.FIRST if sound is not None else html.error(sentence)

    def _read(self, upload: Path, session: str) -> tuple[Sound | None, str]:
        """Reads an upload and notes who uses it; one of no use is removed, and the sentence says why."""
        self._storage.use(upload, session)
        try:
            return read_sound(upload, self._limits), ""
        except AudioSepError as error:
            if not upload.exists():
                return None, NOT_KEPT
            self._storage.discard(upload)
            return None, worded(error, upload)

    def example(self, number: int) -> tuple[str, str, str]:
        """Returns the recording and the sentences of an example."""
        chosen = EXAMPLES[number]
        return str(self._examples[number]), chosen.query, chosen.without


def build(handlers: Handlers, storage: Storage, limits: Limits, *, local: bool) -> "gr.Blocks":
    """Puts the page together."""
    import gradio as gr  # pyright: ignore[reportMissingImports]

    def separate(upload, query, without, request: gr.Request, progress=gr.Progress()):
        return handlers.separate(
            upload,
            query,
            without,
            session=_session(request),
            progress=progress,
        )

    def check(upload, request: gr.Request):
        useful, said = handlers.check(upload, session=_session(request))
        return (gr.skip() if useful else None), said

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
