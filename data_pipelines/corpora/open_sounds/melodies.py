"""Melodies, chords and drum patterns for rendered instruments, drawn from a generator."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Note:
    """A note: onset and length in seconds, MIDI key, velocity 1 to 127."""

    start: float
    seconds: float
    key: int
    velocity: int


@dataclasses.dataclass(frozen=True)
class Part:
    """What an instrument plays.

    Attributes:
      low: its lowest useful MIDI key.
      high: its highest.
      styles: of "melody", "chords", "arpeggio", "bass", "drone" (a melody over held notes), "roll",
        "rhythm" (any keys in the range as drums) and "kit".
      scales: names of `SCALES`.
      sustained: whether notes sound as long as they are held; others ring.
    """

    low: int
    high: int
    styles: tuple[str, ...] = ("melody",)
    scales: tuple[str, ...] = ("major", "minor", "dorian", "pentatonic")
    sustained: bool = True


SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "harmonic": (0, 2, 3, 5, 7, 8, 11),
    "pentatonic": (0, 2, 4, 7, 9),
    "blues": (0, 3, 5, 6, 7, 10),
    "in": (0, 1, 5, 7, 8),
    "bhairav": (0, 1, 4, 5, 7, 8, 11),
}

TEMPI = {"slow": (54, 76), "medium": (80, 116), "fast": (126, 168)}
"""Beats a minute."""

_FIGURES = {
    "slow": ((1, 1), (2,), (1.5, 0.5), (3,), (1, 0.5, 0.5)),
    "medium": ((1, 1), (0.5, 0.5, 1), (1.5, 0.5), (2,), (0.5, 0.5, 0.5, 0.5), (1, 0.5, 0.5)),
    "fast": ((0.5, 0.5, 0.5, 0.5), (1, 0.5, 0.5), (0.5, 0.5, 1), (0.25, 0.25, 0.5, 1), (1, 1)),
}
_PROGRESSIONS = ((0, 3, 4, 0), (0, 5, 3, 4), (0, 4, 5, 3), (0, 3, 0, 4), (5, 3, 0, 4), (0, 2, 3, 4))
_KICK, _SNARE, _RIM, _HATS, _CRASHES, _TOMS = (35, 36), (38, 40), 37, (42, 44, 46), (49, 57), (41, 45, 48, 50)


def compose(rng: np.random.Generator, part: Part, seconds: float, *, pace: str = "") -> list[Note]:
    """Returns notes that fill about `seconds`, the same for the same state of the generator.

    `pace` is "slow", "medium" or "fast"; by default any of them.
    """
    pace = pace or str(rng.choice(list(TEMPI)))
    beat = 60 / float(rng.uniform(*TEMPI[pace]))
    style = str(rng.choice(part.styles))
    if style == "kit":
        return _kit(rng, seconds, beat)
    if style == "rhythm":
        return _rhythm(rng, part, seconds, beat)
    scale = _keys(rng, part)
    if style == "roll":
        return _rolls(rng, scale, seconds, beat)
    if style == "chords":
        return _chords(rng, scale, seconds, beat, broken=False)
    if style == "arpeggio":
        return _chords(rng, scale, seconds, beat, broken=True)
    if style == "bass":
        return _bass(rng, scale, seconds, beat)
    notes = _melody(rng, scale, seconds, beat, pace)
    if style == "drone":
        root = scale.root - 12 if scale.root - 12 >= part.low else scale.root
        notes += [Note(0.0, seconds, root, 70), Note(0.0, seconds, root + 7, 55)]
    return notes


@dataclasses.dataclass(frozen=True)
class _Scale:
    keys: Sequence[int]
    tonics: Sequence[int]  # places of the root in `keys`
    tones: int

    @property
    def root(self) -> int:
        return self.keys[self.tonics[0]]

    def clamp(self, place: int) -> int:
        return min(max(place, 0), len(self.keys) - 1)


def _keys(rng: np.random.Generator, part: Part) -> _Scale:
    tones = SCALES[str(rng.choice(part.scales))]
    root = int(rng.integers(12))
    keys = [key for key in range(part.low, part.high + 1) if (key - root) % 12 in tones]
    tonics = [place for place, key in enumerate(keys) if (key - root) % 12 == 0]
    return _Scale(keys, tonics or [0], len(tones))


def _melody(rng: np.random.Generator, scale: _Scale, seconds: float, beat: float, pace: str) -> list[Note]:
    """Returns a walk along the scale in phrases of two bars that end on the root or the fifth."""
    centre = scale.tonics[len(scale.tonics) // 2]
    place, time = centre, 0.0
    held = float(rng.uniform(0.75, 0.98))
    motif = [_FIGURES[pace][rng.integers(len(_FIGURES[pace]))] for _ in range(3)]
    notes: list[Note] = []
    beats = 0.0
    while time < seconds:
        figure = motif[rng.integers(3)] if rng.random() < 0.7 else _FIGURES[pace][rng.integers(5)]
        for length in figure:
            if time >= seconds:
                break
            beats += length
            ends = beats % 8 == 0
            if ends:
                nearest = min(scale.tonics, key=lambda tonic: abs(tonic - place))
                place = nearest
            else:
                step = int(rng.choice([-3, -2, -1, -1, 0, 1, 1, 2, 3, 4]))
                pull = -1 if place > centre + 5 else 1 if place < centre - 5 else 0
                place = scale.clamp(place + step + pull)
            if ends or not notes or rng.random() > 0.06:  # else a rest
                velocity = int(np.clip(88 + 14 * (beats % 4 == 1) + rng.normal(0, 9), 45, 120))
                notes.append(Note(time, length * beat * held, scale.keys[place], velocity))
            time += length * beat
    return notes


def _chords(
    rng: np.random.Generator, scale: _Scale, seconds: float, beat: float, *, broken: bool
) -> list[Note]:
    """Returns triads of a progression, struck together or, if `broken`, one tone after the other."""
    degrees = _PROGRESSIONS[rng.integers(len(_PROGRESSIONS))]
    base = scale.tonics[max(0, len(scale.tonics) // 2 - 1)]
    strikes = int(rng.choice([1, 2, 4]))
    notes: list[Note] = []
    time, bar = 0.0, 0
    while time < seconds:
        first = base + degrees[bar % 4] % scale.tones
        chord = sorted({scale.keys[scale.clamp(first + above)] for above in (0, 2, 4)})
        if broken:
            order = [*chord, chord[0] + 12 if chord[0] + 12 <= scale.keys[-1] else chord[-1]]
            order = order + order[-2:0:-1] if rng.random() < 0.5 else order * 2
            step = 4 * beat / 8
            for number in range(8):
                velocity = int(np.clip(80 + 12 * (number == 0) + rng.normal(0, 7), 45, 115))
                key = order[number % len(order)]
                notes.append(Note(time + number * step, step * 1.8, key, velocity))
        else:
            for number in range(strikes):
                start = time + number * 4 * beat / strikes
                velocity = int(np.clip(84 + rng.normal(0, 7), 50, 112))
                length = 4 * beat / strikes * 0.92
                notes += [Note(start + 0.012 * tone, length, key, velocity) for tone, key in enumerate(chord)]
        time, bar = time + 4 * beat, bar + 1
    return [note for note in notes if note.start < seconds]


def _bass(rng: np.random.Generator, scale: _Scale, seconds: float, beat: float) -> list[Note]:
    degrees = _PROGRESSIONS[rng.integers(len(_PROGRESSIONS))]
    pattern = [float(length) for length in _FIGURES["medium"][rng.integers(6)]] * 4
    notes: list[Note] = []
    time, bar = 0.0, 0
    while time < seconds:
        first = scale.tonics[0] + degrees[bar % 4] % scale.tones
        spent = 0.0
        for length in pattern:
            if spent >= 4:
                break
            above = int(rng.choice([0, 0, 0, 2, 4, -1]))
            key = scale.keys[scale.clamp(first + above)]
            velocity = int(np.clip(96 + rng.normal(0, 8), 60, 122))
            notes.append(Note(time + spent * beat, length * beat * 0.9, key, velocity))
            spent += length
        time, bar = time + 4 * beat, bar + 1
    return [note for note in notes if note.start < seconds]


def _rolls(rng: np.random.Generator, scale: _Scale, seconds: float, beat: float) -> list[Note]:
    """Returns single strokes and rolls that grow louder, on a few keys."""
    keys = [scale.keys[int(place)] for place in rng.choice(len(scale.keys), min(3, len(scale.keys)), False)]
    notes: list[Note] = []
    time = 0.0
    while time < seconds:
        key = keys[int(rng.integers(len(keys)))]
        if rng.random() < 0.4:
            strokes = int(rng.integers(10, 24))
            for number in range(strokes):
                velocity = int(50 + 60 * number / strokes + rng.integers(6))
                notes.append(Note(time + number * 0.07, 0.2, key, velocity))
            time += strokes * 0.07
        else:
            notes.append(Note(time, beat, key, int(rng.integers(80, 118))))
        time += beat * float(rng.choice([0.5, 1, 1, 2]))
    return [note for note in notes if note.start < seconds]


def _rhythm(rng: np.random.Generator, part: Part, seconds: float, beat: float) -> list[Note]:
    """Returns a bar of sixteenth notes that is repeated with small changes."""
    keys = range(part.low, part.high + 1)
    bar = [place for place in range(16) if place == 0 or rng.random() < (0.55 if place % 4 == 0 else 0.35)]
    chosen = [keys[int(rng.integers(len(keys)))] for _ in bar]
    notes: list[Note] = []
    time = 0.0
    while time < seconds:
        for place, key in zip(bar, chosen, strict=True):
            if rng.random() < 0.92:
                velocity = int(np.clip(82 + 25 * (place % 4 == 0) + rng.normal(0, 8), 40, 124))
                notes.append(Note(time + place * beat / 4, 0.2, key, velocity))
        time += 4 * beat
    return [note for note in notes if note.start < seconds]


def _kit(rng: np.random.Generator, seconds: float, beat: float) -> list[Note]:
    """Returns a beat of bass drum, snare and hi-hat, with a fill every fourth bar."""
    kick = [0, 8, *map(int, rng.choice([3, 6, 7, 10, 11, 14], int(rng.integers(0, 3)), replace=False))]
    drum = int(rng.choice([*_SNARE, _RIM]))
    every = int(rng.choice([1, 2, 2, 4]))
    low, closed = int(rng.choice(_KICK)), int(rng.choice(_HATS[:2]))
    notes: list[Note] = []
    time, bar = 0.0, 0
    while time < seconds:
        fill = bar % 4 == 3
        hits = [(place, low, 108) for place in kick] + [(4, drum, 104)]
        hits += [(12, drum, 104)] if not fill else []
        hits += [(place, closed, 70 + 14 * (place % 4 == 0)) for place in range(0, 12 if fill else 16, every)]
        hits += [(0, int(rng.choice(_CRASHES)), 96)] if bar % 4 == 0 else []
        if fill:
            hits += [(12 + number, tom, 100) for number, tom in enumerate(_TOMS[::-1])]
        for place, key, velocity in hits:
            changed = int(np.clip(velocity + rng.normal(0, 6), 30, 126))
            notes.append(Note(time + place * beat / 4 + float(rng.uniform(0, 0.008)), 0.25, key, changed))
        time, bar = time + 4 * beat, bar + 1
    return [note for note in notes if note.start < seconds]
