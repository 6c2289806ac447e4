"""Instruments of General MIDI soundfonts, rendered with melodies of their own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiosep_jax.audio.resample import resample
from audiosep_jax.errors import MissingPackageError
from data_pipelines.corpora.open_sounds.archives import ArchiveError
from data_pipelines.corpora.open_sounds.arrangement import generator
from data_pipelines.corpora.open_sounds.melodies import Note, Part, compose
from data_pipelines.corpora.open_sounds.sounds import RATE_HZ, Mono, trim

_FONT_HZ = 44_100
_BLOCK_SECONDS = 0.01
_DRUM_BANK = 128
_TAIL_SECONDS = 1.0

_RINGING = ("major", "minor", "dorian", "pentatonic", "mixolydian")
_FOLK = ("major", "mixolydian", "dorian", "pentatonic")
_JAPANESE = ("in", "pentatonic")

PARTS = {
    "accordion": Part(53, 84, ("melody", "melody", "chords"), _FOLK),
    "acoustic guitar": Part(43, 76, ("arpeggio", "melody", "chords"), _RINGING, sustained=False),
    "bagpipes": Part(62, 81, ("drone",), ("mixolydian",)),
    "banjo": Part(48, 79, ("arpeggio", "melody"), _FOLK, sustained=False),
    "bass guitar": Part(28, 52, ("bass",), ("minor", "blues", "dorian", "major")),
    "bassoon": Part(36, 67),
    "brass section": Part(48, 77, ("chords", "melody")),
    "cello": Part(38, 69),
    "choir or singing": Part(48, 77, ("chords", "melody"), ("major", "minor", "dorian")),
    "clarinet": Part(52, 86),
    "clavinet": Part(40, 72, ("bass", "chords", "melody"), ("blues", "dorian", "minor")),
    "double bass": Part(30, 55, ("bass", "melody"), ("minor", "dorian", "major")),
    "electric guitar music": Part(42, 79, ("melody", "chords", "arpeggio"), ("minor", "blues", "major")),
    "electric organ": Part(48, 84, ("chords", "melody"), ("blues", "dorian", "major")),
    "electric piano": Part(45, 84, ("chords", "arpeggio", "melody"), sustained=False),
    "flute": Part(62, 93),
    "french horn": Part(43, 74),
    "glockenspiel": Part(79, 103, sustained=False),
    "hammered dulcimer or zither": Part(52, 84, ("melody", "arpeggio"), _FOLK, sustained=False),
    "harmonica": Part(60, 89, ("melody", "melody", "chords"), ("blues", "major", "mixolydian")),
    "harmonium": Part(48, 79, ("chords", "melody", "drone"), ("major", "minor", "bhairav")),
    "harp": Part(43, 91, ("arpeggio", "arpeggio", "melody"), _RINGING, sustained=False),
    "harpsichord": Part(43, 84, ("arpeggio", "melody", "chords"), ("minor", "major", "harmonic")),
    "kalimba": Part(60, 88, ("melody", "arpeggio"), ("pentatonic", "major"), sustained=False),
    "koto": Part(50, 84, ("melody", "arpeggio"), _JAPANESE, sustained=False),
    "mandolin": Part(55, 86, ("melody", "arpeggio"), _FOLK, sustained=False),
    "marimba": Part(45, 84, ("melody", "arpeggio"), sustained=False),
    "music box": Part(72, 98, ("melody", "arpeggio"), ("major", "pentatonic"), sustained=False),
    "oboe": Part(59, 88),
    "ocarina or whistling": Part(67, 91),
    "pan flute": Part(60, 88, ("melody",), ("pentatonic", "minor", "dorian")),
    "piano": Part(36, 93, ("chords", "arpeggio", "melody"), sustained=False),
    "pipe organ": Part(43, 84, ("chords", "melody"), ("major", "minor", "harmonic")),
    "pizzicato strings": Part(43, 84, ("melody", "arpeggio"), sustained=False),
    "recorder": Part(67, 91),
    "saxophone": Part(49, 80, ("melody",), ("blues", "dorian", "minor", "major")),
    "shamisen": Part(50, 77, ("melody",), _JAPANESE, sustained=False),
    "shehnai": Part(60, 84, ("melody", "drone"), ("bhairav", "minor", "major")),
    "sitar": Part(48, 77, ("drone", "melody"), ("bhairav", "dorian", "mixolydian"), sustained=False),
    "slide guitar": Part(50, 79, ("melody", "arpeggio"), ("major", "mixolydian")),
    "steel drums": Part(55, 84, ("melody", "arpeggio"), ("major", "mixolydian"), sustained=False),
    "string ensemble": Part(40, 86, ("chords", "melody")),
    "synthesizer": Part(40, 84, ("arpeggio", "melody", "chords"), ("minor", "dorian", "pentatonic")),
    "timpani": Part(40, 57, ("roll",), ("major", "minor"), sustained=False),
    "trombone": Part(42, 70),
    "trumpet": Part(55, 82),
    "tuba": Part(29, 55),
    "tubular bells": Part(60, 77, ("melody",), sustained=False),
    "ukulele": Part(60, 81, ("chords", "arpeggio"), ("major", "mixolydian"), sustained=False),
    "vibraphone": Part(55, 86, ("melody", "chords", "arpeggio"), sustained=False),
    "viola": Part(48, 77),
    "violin": Part(57, 91),
    "xylophone": Part(67, 96, ("melody", "arpeggio"), sustained=False),
    "taiko drum": Part(43, 57, ("rhythm",)),
    "drum kit": Part(35, 57, ("kit",)),
    "electronic drum beat": Part(35, 57, ("kit",)),
}
"""What each instrument plays; the drums of a kit are in `DRUMS`."""

DRUMS = {
    "castanets or claves": (75, 76, 77, 85),
    "clapping": (39,),
    "congas or bongos": (60, 61, 62, 63, 64),
    "cowbell": (56,),
    "cymbal": (49, 51, 52, 53, 55, 57, 59),
    "hi-hat": (42, 44, 46),
    "kick drum": (35, 36),
    "maracas or shaker": (69, 70, 82),
    "snare drum": (38, 40),
    "tambourine": (54,),
    "timbales or agogo": (65, 66, 67, 68),
    "tom drum": (41, 43, 45, 47, 48, 50),
    "triangle": (80, 81),
}
"""The MIDI keys of the drums of a kit that a label means."""


def check_installed() -> None:
    """Checks that instruments can be rendered.

    Raises:
      MissingPackageError: tinysoundfont is not installed.
    """
    try:
        import tinysoundfont  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingPackageError(
            "The instruments of open_sounds are rendered with tinysoundfont: install it with "
            "`pip install --no-deps tinysoundfont` (its dependency pyaudio is needed only to play live)."
        ) from None


class SoundFont:
    """A loaded soundfont.

    Raises:
      ArchiveError: the file is no soundfont.
    """

    def __init__(self, path: Path):
        import tinysoundfont  # pyright: ignore[reportMissingImports]

        self._synth: Any = tinysoundfont.Synth(gain=-6, samplerate=_FONT_HZ)
        try:
            self._font = self._synth.sfload(str(path))
        except (RuntimeError, tinysoundfont.SoundFontException) as error:
            raise ArchiveError(f"{path.name} is no soundfont ({error})") from error

    def render(self, name: str, label: str, program: str, seconds: float, captions: Sequence[str]) -> Mono:
        """Returns an instrument, "BANK:PROGRAM", playing notes that depend on the clip's name alone.

        A caption with "slow" or "fast" decides the tempo.

        Raises:
          ArchiveError: the soundfont has no such instrument, or no part is written for the label.
        """
        rng = generator(f"melody {name}")
        said = " ".join(captions)
        pace = next((word for word in ("slow", "fast") if f" {word} " in said), "")
        if not pace and any(caption.endswith(" a melody") for caption in captions):
            pace = "medium"
        if label in DRUMS:
            notes = _played(rng, DRUMS[label], compose(rng, Part(0, 127, ("rhythm",)), seconds))
        elif label in PARTS:
            notes = compose(rng, PARTS[label], seconds, pace=pace)
        else:
            raise ArchiveError(f"there is no melody for {label}")
        bank, preset = map(int, program.split(":"))
        dry = self._play(notes, bank, preset, seconds)
        return trim(_with_room(rng, dry)[: round(seconds * RATE_HZ)])

    def _play(self, notes: Sequence[Note], bank: int, preset: int, seconds: float) -> Mono:
        drums = bank == _DRUM_BANK
        try:
            self._synth.program_select(0, self._font, 0 if drums else bank, preset, drums)
        except Exception as error:
            raise ArchiveError(f"there is no instrument {bank}:{preset} ({error})") from error
        self._silence()
        events = sorted(
            [(note.start, 1, note.key, note.velocity) for note in notes]
            + [(note.start + note.seconds, 0, note.key, 0) for note in notes]
        )
        block = round(_BLOCK_SECONDS * _FONT_HZ)
        blocks = []
        following = 0
        for start in range(0, round((seconds + _TAIL_SECONDS) * _FONT_HZ), block):
            while following < len(events) and events[following][0] * _FONT_HZ < start + block:
                _, on, key, velocity = events[following]
                if on:
                    self._synth.noteon(0, key, velocity)
                else:
                    self._synth.noteoff(0, key)
                following += 1
            blocks.append(self._generate(block))
        stereo = np.concatenate(blocks).reshape(-1, 2)
        return resample(stereo.mean(axis=1), from_hz=_FONT_HZ, to_hz=RATE_HZ)

    def _silence(self) -> None:
        """Stops all notes, so that a clip does not depend on the one before."""
        self._synth.sounds_off(0)
        for _ in range(50):
            if not np.any(self._generate(4096)):
                return

    def _generate(self, samples: int) -> np.ndarray:
        return np.frombuffer(bytes(self._synth.generate(samples)), np.float32)


def _played(rng: np.random.Generator, keys: Sequence[int], notes: Sequence[Note]) -> list[Note]:
    """Returns the rhythm of some notes on the drums of a label."""
    chosen = [keys[int(place)] for place in rng.choice(len(keys), min(3, len(keys)), replace=False)]
    return [Note(note.start, note.seconds, chosen[note.key % len(chosen)], note.velocity) for note in notes]


def _with_room(rng: np.random.Generator, dry: Mono) -> Mono:
    """Adds the echoes of a room, decaying noise, to three clips of four."""
    wet, decay = float(rng.uniform(0.03, 0.2)), float(rng.uniform(0.25, 1.2))
    noise = rng.standard_normal(round(decay * RATE_HZ)).astype(np.float32)
    if rng.random() < 0.25:
        return dry
    times = np.arange(len(noise), dtype=np.float32) / RATE_HZ
    echo = noise * np.exp(-6.9 * times / decay)
    echo /= np.sqrt(np.sum(np.square(echo)))
    size = len(dry) + len(echo) - 1
    length = 1 << (size - 1).bit_length()
    echoes = np.fft.irfft(np.fft.rfft(dry, length) * np.fft.rfft(echo, length), length)[: len(dry)]
    return (dry + wet * 3 * echoes).astype(np.float32)
