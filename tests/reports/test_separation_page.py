"""Pages of bundled clips; only the slow test compiles the bundled model."""

import dataclasses
import types
from pathlib import Path

import numpy as np
import pytest
from report_parts import HOSTILE, read_page

import audiosep_jax
from audiosep_jax.audio.pcm import quantise
from audiosep_jax.audio.reading import read_audio
from audiosep_jax.audio.residual import split
from audiosep_jax.audio.writing import write_audio
from audiosep_jax.cli.main import main
from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals.metrics import sdr_db
from audiosep_jax.reports import excerpt as excerpts
from audiosep_jax.reports.separation_page import Answer, SeparatedMixture, measure, write_separation
from audiosep_jax.separation.api import Separation
from audiosep_jax.separation.presence import Presence

DEMO = Path(audiosep_jax.__file__).parent / "assets" / "demo"
DOG, COW = DEMO / "dog_barking_1.ogg", DEMO / "cow_mooing_1.ogg"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    dog, cow = (read_audio(path) for path in (DOG, COW))
    samples = min(dog.waveform.shape[1], cow.waveform.shape[1])
    sounds = {"dog": 0.5 * dog.waveform[:, :samples], "cow": 0.5 * cow.waveform[:, :samples]}
    sounds["mixture"] = sounds["dog"] + sounds["cow"]
    for name, sound in sounds.items():
        write_audio(folder / f"{name}.wav", sound, sample_rate_hz=dog.sample_rate_hz)
    return folder


class HalfOfTheMixture:
    """A model without compilation: every query extracts a share of the mixture."""

    config = types.SimpleNamespace(name="half")

    def condition(self, *, query):
        return np.float32(0.5 if "dog" in query else 0.25)

    def separate(self, waveform, sample_rate_hz, *, condition):
        parts = split(waveform, condition * waveform, peak=1.0)
        return Separation(*parts, sample_rate_hz, presence=Presence(level_db=-6.0, score=None, absent=None))


def show(mixed, out):
    """The command: two queries, of which the first has a target, on the first half second."""
    queries = ["--query", "a dog barking", "--query", "<i>a cow</i> for $5 and $7"]
    more = ["--target", str(mixed / "dog.wav"), "--seconds", "0.5", "--out", str(out)]
    assert main(["show", "separation", str(mixed / "mixture.wav"), *queries, *more]) == 0
    return read_page(out)


def test_the_page_plays_estimates_and_residuals(mixed, tmp_path, monkeypatch):
    monkeypatch.setattr(audiosep_jax, "load", lambda checkpoint: HalfOfTheMixture())
    page = show(mixed, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "spectrograms.png"]
    labels = [label.split(" (")[0] for label, _, _ in page.sounds]
    pair = ["estimate", "residual: mixture - estimate"]
    assert labels == ["mixture", "target: the true sound", *pair, *pair]
    mixture, target, *answers = [samples[:, 0].astype(int) for _, samples, _ in page.sounds]
    read = {name: read_audio(mixed / f"{name}.wav") for name in ("mixture", "dog")}
    rate = read["mixture"].sample_rate_hz
    assert {heard for _, _, heard in page.sounds} == {rate}
    expected = {name: sound.waveform[0, : rate // 2] for name, sound in read.items()}
    np.testing.assert_array_equal(mixture, quantise(expected["mixture"], 16))
    np.testing.assert_array_equal(target, quantise(expected["dog"], 16))
    assert np.abs(answers[0] - quantise(0.5 * expected["mixture"], 16)).max() <= 1
    assert np.abs(answers[2] - quantise(0.25 * expected["mixture"], 16)).max() <= 1
    for estimate, residual in zip(answers[::2], answers[1::2], strict=True):
        assert np.abs(estimate + residual - mixture).max() <= 1  # each is rounded to 16 bits
    assert "An excerpt: the recording is longer. Only its first 0.5 s" in page.text
    assert "by the model half." in page.text

    # The players hold the sounds that are measured.
    header, dog, cow = page.tables[0]
    improvement = sdr_db(target / 2**15, answers[0] / 2**15) - sdr_db(target / 2**15, mixture / 2**15)
    assert float(dog[header.index("SDRi")]) == pytest.approx(float(improvement), abs=0.02)
    assert cow[0] == "<i>a cow</i> for $5 and $7"
    assert (cow[1], cow[header.index("SDRi")]) == ("-12.04", "–")
    alt, picture = page.pictures[0]
    assert picture == (tmp_path / "out" / "spectrograms.png").read_bytes()
    assert "mixture; target 1: “a dog barking”; estimate 1: “a dog barking” (SDRi" in alt


@pytest.mark.slow
def test_the_page_of_the_bundled_model(mixed, tmp_path):
    page = show(mixed, tmp_path)
    mixture = read_audio(mixed / "mixture.wav")
    rate = mixture.sample_rate_hz
    part = mixture.waveform[:, : rate // 2]
    expected = audiosep_jax.load().separate(part, rate, query="a dog barking")
    heard = page.sounds[2][1][:, 0].astype(int)
    # Two compilations may round differently, which moves a value near a step of 16 bits to the next.
    assert np.abs(heard - quantise(expected.estimate[0], 16)).max() <= 1
    assert np.abs(heard).max() > 1000
    assert "audiosep-open" in page.text


def answered(queries, *, channels=1, samples=400, target=False):
    rng = np.random.default_rng(0)
    mixture = rng.uniform(-0.9, 0.9, (channels, samples)).astype(np.float32)
    answers = tuple(
        Answer(
            query=query,
            estimate=0.5 * mixture,
            residual=0.5 * mixture,
            target=0.25 * mixture if target else None,
        )
        for query in queries
    )
    return SeparatedMixture(
        name=HOSTILE, model=HOSTILE, waveform=mixture, sample_rate_hz=8000, cut=False, answers=answers
    )


def test_many_queries_fill_several_pictures_and_hostile_ones_harm_none(tmp_path):
    queries = [HOSTILE, "犬が吠える", "word " * 200, "line\nbreak", "fifth"]
    paths = write_separation(answered(queries, channels=2), tmp_path)
    written = ["report.html", "spectrograms.png", "spectrograms-2.png"]
    assert [path.name for path in paths] == written
    page = read_page(tmp_path)
    assert "fifth" in page.pictures[1][0]
    assert "fifth" not in page.pictures[0][0]
    assert [row[0] for row in page.tables[0][1:3]] == [HOSTILE.replace("\x00", "\ufffd"), queries[1]]
    assert "No target was given" in page.text
    assert "An excerpt" not in page.text
    assert page.sounds[0][1].shape == (400, 2)


def test_numbers_follow_the_definitions():
    found = answered(["x"], target=True)
    numbers = measure(found.answers[0], found.waveform)
    assert numbers.level_db == pytest.approx(-20 * np.log10(2))
    # Target 0.25 x, estimate 0.5 x, mixture x: errors of 0.25 x and 0.75 x.
    assert numbers.sdr_db == pytest.approx(0, abs=1e-5)
    assert numbers.sdri_db == pytest.approx(20 * np.log10(3), abs=1e-5)
    assert dataclasses.asdict(measure(answered(["x"]).answers[0], found.waveform))["sdri_db"] is None


def test_an_excerpt_has_the_requested_length_and_says_whether_it_was_cut(mixed):
    path = mixed / "mixture.wav"
    whole = read_audio(path)
    samples, rate = whole.waveform.shape[1], whole.sample_rate_hz
    for seconds, cut in [(0.5, True), (samples / rate, False), (60.0, False), ((samples - 1) / rate, True)]:
        found = excerpts.read_excerpt(path, seconds=seconds)
        assert found.cut == cut
        np.testing.assert_array_equal(found.waveform, whole.waveform[:, : round(seconds * rate)])


def test_targets_of_another_rate_and_of_one_channel_fit(mixed, tmp_path):
    dog = read_audio(mixed / "dog.wav", sample_rate_hz=8000)
    write_audio(tmp_path / "slow.wav", dog.waveform, sample_rate_hz=8000)
    part = excerpts.read_excerpt(mixed / "mixture.wav", seconds=1)
    stereo = dataclasses.replace(part, waveform=np.repeat(part.waveform, 2, axis=0))
    found = excerpts.read_target(tmp_path / "slow.wav", stereo, mixture="m")
    assert found.shape == stereo.waveform.shape
    exact = excerpts.read_target(mixed / "dog.wav", stereo, mixture="m")
    np.testing.assert_array_equal(found[0], found[1])
    assert sdr_db(exact[0], found[0]) > 5  # the band above 4 kHz is missing


def test_users_mistakes_with_separations(mixed, tmp_path, capsys):
    mixture, dog = str(mixed / "mixture.wav"), str(mixed / "dog.wav")
    short, fast = tmp_path / "short.wav", tmp_path / "fast.wav"
    write_audio(short, np.zeros(1000), sample_rate_hz=32000)
    write_audio(fast, np.zeros(1000), sample_rate_hz=384_000)
    stereo = tmp_path / "stereo.wav"
    write_audio(stereo, np.zeros((2, 200_000)), sample_rate_hz=32000)
    (tmp_path / "text.wav").write_text("no sound")
    query = ["--query", "a dog"]
    for arguments, said in [
        ([mixture], "No query was given"),
        ([mixture, *query, "--target", dog, dog], "2 targets for 1 queries"),
        ([mixture, *query, "--seconds", "0"], "--seconds is 0"),
        ([mixture, *query, "--seconds", "nan"], "--seconds is nan"),
        ([mixture, *query, "--seconds", "3600"], "give fewer seconds or fewer queries"),
        ([mixture, "--query", *map(str, range(1200))], "too many for one page"),
        ([str(tmp_path / "nowhere.wav"), *query], "nowhere.wav does not exist"),
        ([str(tmp_path / "text.wav"), *query], "is not a sound file"),
        ([str(fast), *query], "384000 samples a second"),
        ([mixture, *query, "--target", str(short)], "is not as long as"),
        ([mixture, *query, "--target", str(stereo)], "has 2 channels"),
        ([mixture, *query, "--target", str(tmp_path / "none.wav")], "none.wav does not exist"),
        ([mixture, *query, "--checkpoint", str(tmp_path)], str(tmp_path)),
    ]:
        assert main(["show", "separation", *arguments, "--out", str(tmp_path / "out")]) == 2, arguments
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out" / "report.html").exists()


def test_an_excerpt_of_the_largest_size_makes_a_page_that_is_written(monkeypatch, tmp_path):
    """White noise does not compress: its page is the largest that `longest_seconds` allows."""
    monkeypatch.setattr(excerpts, "LARGEST_PAGE_BYTES", 7_000_000)
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 200_000)).astype(np.float32)
    write_audio(tmp_path / "noise.wav", noise, sample_rate_hz=44100)
    seconds = excerpts.longest_seconds(tmp_path / "noise.wav", sounds=3)
    assert 1 < seconds < 4
    part = excerpts.read_excerpt(tmp_path / "noise.wav", seconds=seconds)
    loud = Answer(query="q", estimate=part.waveform, residual=part.waveform)
    whole = SeparatedMixture(
        name="n", model="m", waveform=part.waveform, sample_rate_hz=44100, cut=True, answers=(loud,)
    )
    monkeypatch.setattr("audiosep_jax.reports.html_page.LARGEST_PAGE_BYTES", 7_000_000)
    page, *_ = write_separation(whole, tmp_path / "out")
    assert page.stat().st_size < 7_000_000
    with pytest.raises(AudioSepError, match="too many for one page"):
        excerpts.longest_seconds(tmp_path / "noise.wav", sounds=100)
