import numpy as np
import pytest
from report_parts import HOSTILE, Page, read_page

from audiosep_jax.audio.pcm import quantise
from audiosep_jax.errors import AudioSepError
from audiosep_jax.reports import html_page as pages
from audiosep_jax.reports.players import flac, largest_bytes, listen


def test_every_text_is_escaped_and_shown_whole():
    parts = [
        pages.heading(HOSTILE),
        pages.paragraph(HOSTILE),
        pages.picture(b"png", alt=HOSTILE, caption=HOSTILE),
        pages.player(flac(np.zeros((1, 8)), sample_rate_hz=8000), label=HOSTILE),
        pages.table([HOSTILE], [[HOSTILE, HOSTILE]], caption=HOSTILE),
        pages.folded(HOSTILE, pages.paragraph(HOSTILE)),
    ]
    page = Page(pages.whole(HOSTILE, *parts))
    page.check_self_contained()
    shown = HOSTILE.replace("\x00", "\ufffd")
    # title, h1, heading, paragraph, figure's caption, player, table 4, folded 2
    assert sum(shown in text for text in page.texts) == 12
    assert page.pictures[0][0] == page.sounds[0][0] == shown


def test_an_undecodable_file_name_can_be_written(tmp_path):
    page = pages.whole("caf\udce9.wav")
    pages.write_report(tmp_path / "new" / "out", page, {"a.png": b"x"}, advice="")
    assert "caf\ufffd.wav" in read_page(tmp_path / "new" / "out").text
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == ["a.png", "report.html"]


def test_a_page_that_is_too_large_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "LARGEST_PAGE_BYTES", 1000)
    with pytest.raises(AudioSepError, match=r"report\.html would have .* MB, .*: show fewer queries\.$"):
        pages.write_report(tmp_path / "out", pages.whole("x"), {"a.png": b"x"}, advice="show fewer queries")
    assert not (tmp_path / "out").exists()


def test_a_page_can_be_read_on_a_phone_and_in_the_dark():
    source = pages.whole("title", pages.picture(b"png", alt="what it shows"))
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in source
    assert "prefers-color-scheme: dark" in source
    assert "max-width: 100%" in source
    assert 'lang="en"' in source


@pytest.mark.parametrize("channels", [1, 2])
def test_players_hold_the_samples(channels):
    sound = np.random.default_rng(0).uniform(-1, 1, (channels, 3000)).astype(np.float32)
    page = Page(pages.whole("t", *listen([("", {"noise": sound})], sample_rate_hz=44100)))
    ((label, samples, rate),) = page.sounds
    assert (label, rate) == ("noise", 44100)
    np.testing.assert_array_equal(samples.T, quantise(sound, 16))
    assert "Firefox" in page.text
    assert "turned down" not in page.text


def test_one_gain_keeps_sounds_comparable():
    loud, soft = np.full((1, 100), 2.0, np.float32), np.full((1, 100), -0.5, np.float32)
    page = Page(
        pages.whole("t", *listen([("a", {"loud": loud}), ("b", {"soft": soft})], sample_rate_hz=8000))
    )
    assert "turned down by 6.0 dB" in page.text
    (_, first, _), (_, second, _) = page.sounds
    assert first.max() == 32767
    assert set(second.ravel()) == {-8192}


def test_more_than_two_channels_are_averaged():
    sound = np.stack([np.full(50, level, np.float32) for level in (0.0, 0.3, 0.6)])
    page = Page(pages.whole("t", *listen([("", {"surround": sound})], sample_rate_hz=8000)))
    assert page.sounds[0][1].shape == (50, 1)
    assert page.sounds[0][1][0, 0] == quantise(np.array([0.3]), 16)[0]
    assert "Sounds of more than two channels are averaged." in page.text


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_no_sound_exceeds_its_bound_in_bytes(channels):
    noise = np.random.default_rng(0).uniform(-1, 1, (channels, 20_000)).astype(np.float32)
    parts = listen([("", {"noise": noise})], sample_rate_hz=44100)
    assert len(parts[0]) < largest_bytes(20_000, channels, 1)
