import struct

import numpy as np
import pytest

from data_pipelines.corpora.open_sounds import instruments
from data_pipelines.corpora.open_sounds.archives import ArchiveError
from data_pipelines.corpora.open_sounds.arrangement import arrange, generator
from data_pipelines.corpora.open_sounds.melodies import TEMPI, compose

RATE = 32_000


def click(seconds: float, frequency: float = 500) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (np.exp(-8 * time / seconds) * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def onsets(sound: np.ndarray) -> list[float]:
    """Returns the times at which the energy of 10 ms jumps."""
    frames = np.sqrt(np.mean(np.square(sound[: len(sound) // 320 * 320].reshape(-1, 320)), axis=1))
    jumps = np.flatnonzero((frames[1:] > 0.1) & (frames[1:] > 3 * frames[:-1] + 0.02))
    return [float(place) / 100 for place in jumps]


@pytest.mark.parametrize("label", ["footsteps", "drum kit", "speech", "typing on a keyboard"])
def test_an_arrangement_is_the_same_each_time_and_fills_its_length(label):
    parts = [
        (f"{name}.wav", click(0.3, 300 + 100 * place)) for place, name in enumerate(["kick", "snare", "hat"])
    ]
    first = arrange("a", label, 4.0, parts)
    np.testing.assert_array_equal(first, arrange("a", label, 4.0, parts))
    assert 2.5 * RATE < len(first) <= 4 * RATE
    other = arrange("b", label, 4.0, parts)
    assert len(other) != len(first) or np.any(other != first)


def test_words_are_played_in_order_without_overlap():
    parts = [(f"{frequency}.wav", click(0.4, frequency)) for frequency in (400, 800, 1600)]
    found = arrange("words", "speech", 1.3, parts)
    assert len(onsets(np.concatenate([np.zeros(640, np.float32), found]))) == 3


def test_steps_have_a_pace():
    parts = [("a.wav", click(0.1, 500)), ("b.wav", click(0.1, 700))]
    found = np.concatenate([np.zeros(640, np.float32), arrange("walk", "footsteps", 6.0, parts)])
    gaps = np.diff(onsets(found))
    assert 8 <= len(gaps) <= 20
    assert gaps.max() < 1.35 * gaps.min()


def test_silent_one_shots_make_no_clip():
    assert len(arrange("a", "speech", 1.0, [("a.wav", np.zeros(100, np.float32))])) == 0


@pytest.mark.parametrize("label", sorted(instruments.PARTS))
def test_a_part_plays_in_its_range_from_the_start(label):
    part = instruments.PARTS[label]
    for seed in range(6):
        notes = compose(generator(f"{label} {seed}"), part, 8.0)
        assert min(note.start for note in notes) < 1
        assert max(note.start for note in notes) > 3.5
        assert all(0 <= note.start < 8.2 and note.seconds > 0 and 1 <= note.velocity <= 127 for note in notes)
        lowest = 35 if part.styles == ("kit",) else part.low
        assert all(
            lowest <= note.key <= max(part.high, 57 if part.styles == ("kit",) else 0) + 7 for note in notes
        )


def test_a_pace_decides_the_tempo():
    def notes(pace):
        return np.mean(
            [
                len(compose(generator(f"{pace} {seed}"), instruments.PARTS["flute"], 8.0, pace=pace))
                for seed in range(8)
            ]
        )

    assert notes("slow") < notes("medium") < notes("fast")
    assert set(TEMPI) == {"slow", "medium", "fast"}


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def soundfont() -> bytes:
    """Returns a soundfont with one sine as its only instrument, 0:0."""
    time = np.arange(44_100)
    wave = np.concatenate([8_000 * np.sin(2 * np.pi * 440 * time / 44_100), np.zeros(46)]).astype("<i2")

    def named(name: str) -> bytes:
        return name.encode().ljust(20, b"\0")

    info = chunk(b"ifil", struct.pack("<HH", 2, 1)) + chunk(b"INAM", b"test\0\0")
    tables = {
        b"phdr": named("sine") + struct.pack("<HHHIII", 0, 0, 0, 0, 0, 0)
        + named("EOP") + struct.pack("<HHHIII", 0, 0, 1, 0, 0, 0),
        b"pbag": struct.pack("<HHHH", 0, 0, 1, 0),
        b"pmod": bytes(10),
        b"pgen": struct.pack("<HHHH", 41, 0, 0, 0),  # the instrument
        b"inst": named("sine") + struct.pack("<H", 0) + named("EOI") + struct.pack("<H", 1),
        b"ibag": struct.pack("<HHHH", 0, 0, 1, 0),
        b"imod": bytes(10),
        b"igen": struct.pack("<HHHH", 53, 0, 0, 0),  # the sample
        b"shdr": named("sine") + struct.pack("<IIIIIBbHH", 0, 44_100, 0, 0, 44_100, 69, 0, 0, 1)
        + named("EOS") + bytes(26),
    }  # fmt: skip
    lists = (b"INFO" + info, b"sdta" + chunk(b"smpl", wave.tobytes()))
    lists += (b"pdta" + b"".join(chunk(name, content) for name, content in tables.items()),)
    whole = b"sfbk" + b"".join(chunk(b"LIST", each) for each in lists)
    return chunk(b"RIFF", whole)


@pytest.fixture
def font(tmp_path):
    pytest.importorskip("tinysoundfont")
    (tmp_path / "a.sf2").write_bytes(soundfont())
    return instruments.SoundFont(tmp_path / "a.sf2")


@pytest.mark.extras
def test_an_instrument_sounds_the_same_whatever_was_rendered_before(font, tmp_path):
    first = font.render("flute_0", "flute", "0:0", 4.0, ())
    font.render("harp_0", "harp", "0:0", 4.0, ())
    np.testing.assert_array_equal(font.render("flute_0", "flute", "0:0", 4.0, ()), first)
    fresh = instruments.SoundFont(tmp_path / "a.sf2")
    np.testing.assert_array_equal(fresh.render("flute_0", "flute", "0:0", 4.0, ()), first)
    assert len(font.render("flute_1", "flute", "0:0", 4.0, ())) > 2 * RATE
    assert np.max(np.abs(first)) > 0.01


@pytest.mark.extras
def test_an_unknown_instrument_or_label_is_an_error(font, tmp_path):
    with pytest.raises(ArchiveError, match="no instrument 0:7"):
        font.render("flute_0", "flute", "0:7", 2.0, ())
    with pytest.raises(ArchiveError, match="no melody for rain"):
        font.render("rain_0", "rain", "0:0", 2.0, ())
    (tmp_path / "b.sf2").write_bytes(b"text")
    with pytest.raises(ArchiveError, match=r"b.sf2 is no soundfont"):
        instruments.SoundFont(tmp_path / "b.sf2")
