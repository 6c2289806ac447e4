"""The page in a real browser: upload, type, separate, play; it requests nothing from elsewhere."""

import contextlib
import importlib.util
import io
import os
import re
import shutil
import time
import urllib.parse

import matplotlib.image
import numpy as np
import pytest
import soundfile
from web_server import noise, served, wav

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.extras,
    pytest.mark.web,
    pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="the extra web is not installed"),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None, reason="the extra browser is not installed"
    ),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]
WAIT_MS = 180_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    options = ("--max-seconds", "20", "--max-megabytes", "2")
    with served(tmp_path_factory.mktemp("page"), *options) as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from playwright.sync_api import sync_playwright

    microphone = tmp_path_factory.mktemp("microphone") / "heard.wav"
    microphone.write_bytes(wav(noise(3.0, 48_000), 48_000))
    arguments = [
        *(["--no-sandbox"] if os.geteuid() == 0 else []),  # root has none; only this page is opened
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


class Visit:
    """A page in a browser, with its requests and its error messages."""

    def __init__(self, tab, server):
        self.tab, self.requests, self.complaints = tab, [], []
        tab.set_default_timeout(WAIT_MS)
        tab.on("request", lambda request: self.requests.append(request.url))
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on(
            "console",
            lambda message: self.complaints.append(message.text) if message.type == "error" else None,
        )
        tab.goto(server.address)
        tab.wait_for_selector("#separate")

    def give(self, content, name="street.wav"):
        files = [{"name": name, "mimeType": "audio/wav", "buffer": content}]
        self.tab.set_input_files("#recording input[type=file]", files=files)

    def describe(self, query="", without=""):
        self.tab.get_by_label("What do you want to hear?").fill(query)
        self.tab.get_by_label("And what not? (optional)").fill(without)

    def press(self, name="Separate"):
        self.tab.get_by_role("button", name=name, exact=True).click()

    def wait_for_upload(self):
        self.tab.wait_for_selector("#recording .waveform-container, #recording audio", state="attached")

    def wait_for_result(self):
        self.tab.wait_for_selector(".part.estimate audio")

    def error(self):
        self.tab.wait_for_selector(".note.error")
        return self.tab.inner_text(".note.error")

    def play(self, part):
        """Plays a sound to its end; returns its duration in the browser."""
        return self.tab.evaluate(
            """async part => {
                const audio = document.querySelector(`.part.${part} audio`);
                audio.muted = true;
                const ended = new Promise((resolve, reject) => {
                    audio.onended = resolve;
                    audio.onerror = () => reject(audio.error.message);
                });
                await audio.play();
                await ended;
                return audio.duration;
            }""",
            part,
        )

    def hear(self, part, server):
        """Downloads a sound and returns its samples and rate."""
        address = self.tab.get_attribute(f".part.{part} audio", "src")
        return soundfile.read(io.BytesIO(server.get(address)[1]), dtype="int32", always_2d=True)


@pytest.fixture
def visit(browser, server):
    with contextlib.closing(browser.new_context(permissions=["microphone"])) as context:
        visit = Visit(context.new_page(), server)
        yield visit
        assert visit.complaints == []
        own = urllib.parse.urlsplit(server.address).netloc
        for url in visit.requests:
            place = urllib.parse.urlsplit(url.removeprefix("blob:"))
            assert place.scheme == "data" or place.netloc == own, url


def test_upload_separate_and_play(visit, server):
    content = wav(noise(2.0, 44_100, channels=2), 44_100, "PCM_24")
    visit.give(content, "street café.wav")
    visit.wait_for_upload()
    visit.describe("a dog barking")
    visit.press()
    visit.wait_for_result()
    mixture, _ = soundfile.read(io.BytesIO(content), dtype="int32", always_2d=True)
    sounds = {}
    for part in ("mixture", "estimate", "residual"):
        sounds[part], rate = visit.hear(part, server)
        assert (sounds[part].shape, rate) == ((88_200, 2), 44_100)
        assert visit.play(part) == pytest.approx(2.0, abs=0.01)
    assert np.array_equal(sounds["mixture"], mixture)
    assert np.array_equal(sounds["estimate"] + sounds["residual"], mixture)
    with visit.tab.expect_download() as download:
        visit.tab.click(".part.estimate a")
    assert download.value.suggested_filename == "street café.estimate.wav"
    shown = visit.tab.evaluate(
        "() => { const image = document.querySelector('.spectrograms img');"
        " return [image.complete, image.naturalWidth, image.naturalHeight, image.alt]; }"
    )
    assert shown[0]
    assert min(shown[1:3]) > 400
    assert "“a dog barking”" in shown[3]
    _, png = server.get(visit.tab.get_attribute(".spectrograms img", "src"))
    colours = matplotlib.image.imread(io.BytesIO(png)).reshape(-1, 4)
    assert len(np.unique(colours, axis=0)) > 200


def test_record_from_the_microphone(visit, server):
    visit.tab.get_by_label("Select microphone").or_(
        visit.tab.get_by_role("button", name=re.compile("micro|record", re.I))
    ).first.click()
    visit.tab.get_by_role("button", name="Record", exact=True).click()
    visit.tab.wait_for_timeout(2500)
    visit.tab.get_by_role("button", name="Stop", exact=True).first.click()
    visit.wait_for_upload()
    visit.tab.wait_for_timeout(1000)
    visit.describe("rain falling")
    visit.press()
    visit.wait_for_result()
    mixture, rate = visit.hear("mixture", server)
    estimate, _ = visit.hear("estimate", server)
    assert estimate.shape == mixture.shape
    assert len(mixture) > rate
    assert np.abs(mixture).max() > 0


def test_an_example_with_without_alone(visit, server):
    visit.press("A rooster, but no rain")
    visit.tab.wait_for_function("document.querySelector('#without textarea, #without input').value != ''")
    visit.press()
    visit.wait_for_result()
    assert "everything but “rain falling”" in visit.tab.inner_text(".part.estimate")
    assert "“rain falling”" in visit.tab.inner_text(".part.residual")
    assert visit.hear("estimate", server)[0].shape == (160_000, 1)


def test_an_absent_query_shows_a_warning(visit):
    visit.press("Something that is not there")
    visit.tab.wait_for_function("document.querySelector('#query textarea, #query input').value != ''")
    visit.press()
    visit.wait_for_result()
    assert '"rain falling" seems not to be in the recording' in visit.tab.inner_text(".note.warning")


def test_mistakes_show_a_sentence_and_the_page_still_works(visit, server):
    visit.press()
    assert "Describe the sound that you want" in visit.error()
    visit.describe("a dog")
    visit.press()
    visit.tab.wait_for_selector(".note.error >> text=There is no recording")
    visit.give(b"a dog barking, written down", "notes.wav")
    visit.tab.wait_for_selector(".note.error >> text=notes.wav is not a sound file")
    visit.give(wav(np.zeros(8000 * 30), 8000, form="FLAC"), "night.flac")
    visit.tab.wait_for_selector(".note.error >> text=night.flac is 30.0 s long")
    visit.give(wav(noise(0.5)))
    visit.wait_for_upload()
    visit.press()
    visit.wait_for_result()
    assert visit.tab.locator(".note.error").count() == 0
    # The player tries to play what turns out to be text.
    visit.complaints[:] = [one for one in visit.complaints if "Waveform load error" not in one]


def test_a_too_large_file_is_refused_in_the_browser(visit, server):
    visit.give(bytes(3_000_000), "huge.wav")
    visit.tab.wait_for_selector("text=/too large|exceeds|maximum/i")
    assert not [path for path in server.left() if path.name == "huge.wav"]


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror='document.title=\"owned\"'>",
        "${document.title='owned'} {{document.title='owned'}} {{{7*7}}} `${1}`",
        "</p><script>document.title='owned'</script>",
        "&lt;b&gt; & \" ' \\ /",
    ],
)
def test_texts_are_escaped(visit, text):
    name = re.sub(r"[/\\]", "", text) + ".wav"
    visit.give(wav(noise(0.3)), name)
    visit.wait_for_upload()
    visit.describe(text, text)
    visit.press()
    visit.wait_for_result()
    assert text.strip() in visit.tab.inner_text(".part.estimate p")
    assert visit.tab.title() == "audiosep"
    assert visit.tab.locator(".part img, .part script, .part b").count() == 0
    visit.complaints[:] = [one for one in visit.complaints if "onerror" not in one]


def test_closing_the_page_removes_its_files(browser, server):
    with contextlib.closing(browser.new_context()) as context:
        before = set(server.left())
        visit = Visit(context.new_page(), server)
        visit.give(wav(noise(0.4, seed=77)), "mine.wav")
        visit.wait_for_upload()
        visit.describe("a dog")
        visit.press()
        visit.wait_for_result()
        assert set(server.left()) - before
    deadline = time.monotonic() + 60
    while not set(server.left()) <= before and time.monotonic() < deadline:
        time.sleep(0.5)
    assert set(server.left()) <= before


def test_the_page_fits_a_phone_and_has_a_dark_mode(browser, server):
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
    with contextlib.closing(browser.new_context(**phone)) as context:
        visit = Visit(context.new_page(), server)
        width, background = visit.tab.evaluate(
            "() => [document.documentElement.scrollWidth,"
            " getComputedStyle(document.querySelector('.gradio-container')).backgroundColor]"
        )
        assert width <= 390
        assert max(map(int, re.findall(r"\d+", background)[:3])) < 60
