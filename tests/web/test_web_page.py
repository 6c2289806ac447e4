"""The page's handlers and their messages, with a model that halves a sound."""

import html
import time

import numpy as np
import pytest
import soundfile
from web_server import noise, wav

from audiosep_jax.errors import AudioSepError
from audiosep_jax.separation.presence import Presence
from audiosep_jax.separation.results import FileSeparation
from audiosep_jax.web import html as wording
from audiosep_jax.web import page
from audiosep_jax.web.limits import Limits
from audiosep_jax.web.page import Handlers
from audiosep_jax.web.storage import Storage

LIMITS = Limits(sound_seconds=10, work_seconds=30)


class Halves:
    """A model that returns half of every sound, in four steps, and calls `midway` before the third."""

    def __init__(self):
        self.asked, self.absent, self.midway = [], False, lambda: None
        self.peak = 0.5

    def separate_file(self, path, *, estimate_path, residual_path, query, without, progress):
        self.asked.append((query, without))
        mixture, rate = soundfile.read(path, dtype="int16", always_2d=True)
        for step in range(4):
            if step == 2:
                self.midway()
            progress(step + 1, 4)
        soundfile.write(estimate_path, mixture // 2, rate)
        soundfile.write(residual_path, mixture - mixture // 2, rate)
        return FileSeparation(
            estimate_path=estimate_path,
            residual_path=residual_path,
            subtype="PCM_16",
            sample_rate_hz=rate,
            channels=mixture.shape[1],
            samples=len(mixture),
            level_db=-6.0,
            peak=self.peak,
            presence=Presence(level_db=-6.0, score=0.1, absent=self.absent),
        )


@pytest.fixture
def storage(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Storage(LIMITS) as storage:
        yield storage


@pytest.fixture
def model():
    return Halves()


@pytest.fixture
def upload(storage):
    def put(content, name="street.wav", digest="a" * 64):
        path = storage.uploads / digest / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    return put


@pytest.fixture
def press(model, storage):
    handlers = Handlers(model, storage, LIMITS, [])
    steps = []

    def press(path, query="a dog", without="", session="page"):
        recording = None if path is None else str(path)
        said, shown, numbers = handlers.separate(
            recording, query, without, session=session, progress=lambda *step: steps.append(step)
        )
        return said, shown, numbers

    press.steps, press.handlers = steps, handlers
    return press


@pytest.fixture
def undrawn(monkeypatch):
    """Draws no picture, which saves a second."""
    monkeypatch.setattr(page, "draw_spectrograms", lambda *_, **__: None)
    monkeypatch.setattr(page, "png", lambda _: b"")


def results(storage):
    return list((storage.folder / "results").iterdir())


def test_a_result_is_refused_if_the_storage_is_full(model, storage, upload):
    """800,000 bytes in all, of which another page holds 300,000."""
    limits = Limits(upload_bytes=40_000)
    storage._limits = limits
    with storage.result("other", needs_bytes=300_000) as result:
        (result.folder / "estimate.wav").write_bytes(bytes(300_000))
    handlers, path = Handlers(model, storage, limits, []), upload(wav(noise(0.2)))
    said, _, numbers = handlers.separate(str(path), "a dog", "", session="page", progress=lambda *_: None)
    assert numbers == {"error": "The storage of this page is full: try again in some minutes."}
    assert numbers["error"] in said
    assert model.asked == []
    assert [folder.name for folder in results(storage)] == [result.token]


def test_an_upload_deleted_during_the_separation_is_an_error(press, storage, upload, monkeypatch, capsys):
    path = upload(wav(noise(0.2)))

    def gone(upload, folder):  # between the reading and the second name
        upload.unlink()
        (folder / "mixture.wav").hardlink_to(upload)

    monkeypatch.setattr(page, "playable", gone)
    assert press(path)[2] == {"error": "The recording was deleted: upload it again."}
    assert results(storage) == []
    assert "Traceback" not in capsys.readouterr().err


def test_a_separation_gives_players_numbers_and_files(press, storage, upload, model):
    content = wav(noise(1.0, channels=2))
    said, shown, numbers = press(upload(content), "  a dog ", "rain")
    assert model.asked == [("a dog", "rain")]
    assert "1.0 s, 16,000 Hz, 2 channels" in said
    assert "“a dog” without “rain”" in shown
    for part in ("mixture", "estimate", "residual", "picture"):
        folder, token, name = numbers[part].split("/")
        assert folder == "result"
        assert storage.find(token, name).is_file()
        assert numbers[part] in shown
    assert storage.find(token, "mixture.wav").read_bytes() == content
    assert (numbers["seconds"], numbers["channels"], numbers["level_db"]) == (1.0, 2, -6.0)
    assert numbers["warning"] is None
    assert [share for share, _ in press.steps] == pytest.approx([0.225, 0.45, 0.675, 0.9, 0.9])
    assert press.steps[-1][1] == "drawing"


@pytest.mark.usefixtures("undrawn")
def test_samples_far_beyond_full_scale_give_a_warning(press, upload, model):
    model.peak = 32768.0
    said, _, numbers = press(upload(wav(noise(0.2))))
    assert numbers["warning"] == (
        "The recording's samples reach 32768, where full scale is 1: divide by 32768."
    )
    assert html.escape(numbers["warning"]) in said


def test_an_absent_query_gives_a_warning(press, upload, model):
    model.absent = True
    said, _, numbers = press(upload(wav(noise())), "a cat")
    assert "note warning" in said
    assert "seems not to be in the recording" in numbers["warning"]
    assert html.escape(numbers["warning"]) in said


def test_missing_fields_are_reported_before_the_recording_is_read(press, model):
    for path, query, message in (
        (None, "", "Describe the sound"),
        (None, " \n", "Describe the sound"),
        (None, "a dog", "There is no recording"),
        (None, "a" * 1001, "The description has 1,001 letters"),
    ):
        said, _, numbers = press(path, query)
        assert numbers["error"].startswith(message)
        assert 'role="alert"' in said
    assert "what to leave out has 2,000 letters" in press(None, "", "a" * 2000)[2]["error"]
    assert model.asked == []


def test_an_unusable_upload_is_deleted_and_the_error_names_it(press, storage, upload, monkeypatch):
    now = time.time()
    for look in (lambda path: press(path)[2]["error"], lambda path: check(press, path)):
        monkeypatch.setattr("time.time", lambda: now)
        path = upload(b"text", "notes.wav")
        said = look(path)
        assert "notes.wav is not a sound file" in said
        assert str(storage.folder) not in said
        assert look(path) == said  # pressed twice
        monkeypatch.setattr("time.time", lambda: now + 60)
        storage.sweep()
        assert not path.exists()
        assert "recording was deleted" in look(path)
    assert results(storage) == []


def check(press, path):
    useful, said = press.handlers.check(str(path), session="page")
    assert not useful
    return said


def test_a_usable_upload_is_kept(press, upload):
    path = upload(wav(noise()))
    assert press.handlers.check(str(path), session="page") == (True, wording.FIRST)
    assert press.handlers.check(None, session="page") == (True, wording.FIRST)
    assert path.exists()


def test_a_too_slow_separation_is_stopped(press, storage, upload, model, monkeypatch):
    model.midway = lambda: monkeypatch.setattr("time.monotonic", lambda: 1e9)
    path = upload(wav(noise()))
    assert press(path)[2]["error"].startswith("The separation was stopped after 30 s with 75% done")
    assert results(storage) == []
    assert path.exists()


@pytest.mark.usefixtures("undrawn")
def test_closing_a_page_cancels_only_its_own_separation(press, storage, upload, model):
    path = upload(wav(noise()))
    model.midway = lambda: storage.release("another page")
    assert "estimate" in press(path)[2]
    storage.release("page")
    assert results(storage) == []
    path = upload(wav(noise()))
    model.midway = lambda: storage.release("page")
    assert "The separation was cancelled" in press(path)[2]["error"]
    assert results(storage) == []
    assert not path.exists()


def test_stopping_the_server_cancels_every_separation(press, storage, upload, model):
    path = upload(wav(noise()))
    model.midway = storage.stop
    assert "The separation was cancelled" in press(path)[2]["error"]
    model.midway = lambda: None
    assert "The separation was cancelled" in press(path)[2]["error"]
    assert results(storage) == []


def test_a_defect_is_reported_as_one(press, storage, upload, model, capsys):
    def fail():
        raise RuntimeError("the secret reason")

    model.midway = fail
    said, _, numbers = press(upload(wav(noise())))
    assert numbers["error"].startswith("This is a defect of the page")
    assert "secret" not in said
    assert "the secret reason" in capsys.readouterr().err
    assert results(storage) == []


def test_errors_do_not_show_folders(press, storage, upload, model):
    def fail():
        raise AudioSepError(f"{storage.folder}/results/abc/estimate.wav cannot be written (No space left)")

    model.midway = fail
    said = press(upload(wav(noise())))[2]["error"]
    assert said == "estimate.wav cannot be written (No space left)"


@pytest.mark.parametrize("text", ["<b>", "${x}", "{{x}}", "`x`", "\"'&", "\x00\x1b", "\udcff", "line\nline"])
def test_texts_are_escaped_in_markup(text):
    shown = wording.text(text)
    assert not set("<>{}$`\"'") & set(shown)
    shown.encode()
    assert html.unescape(shown) == text.translate({0: "\ufffd", 27: "\ufffd", 0xDCFF: "\ufffd"})
    assert wording.error(text).endswith(f" {shown}</div>")
    assert wording.wanted(text, text) == f"“{text}” without “{text}”"


def test_house_rules_state_the_limits():
    said = wording.house_rules(Limits(), local=True)
    assert "Up to 5 minutes of sound and 100 MB" in said
    assert "nothing leaves it" in said
    assert "nothing leaves it" not in wording.house_rules(Limits(), local=False)


def test_download_names_are_short_and_escaped():
    addresses = dict.fromkeys(("mixture", "estimate", "residual", "picture"), "result/a/b")
    name = "x" * 200 + '".wav'
    shown = wording.results("a dog", "", level_db=-np.inf, addresses=addresses, name=name)
    assert f'download="{"x" * 80}.estimate.wav"' in shown
    assert "“a dog” (silent)" in shown
