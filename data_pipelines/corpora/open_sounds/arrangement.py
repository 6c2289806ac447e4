"""Clips put together from one-shots: steps, key presses, drum patterns, words, repeated hits.

All choices come from a generator that is seeded with the clip's name, so a clip is the same in every build.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from data_pipelines.corpora.open_sounds.sounds import RATE_HZ, Mono, trim

_STEPS = {
    "footsteps": (0.32, 0.62),
    "horse galloping": (0.2, 0.35),
    "typing on a keyboard": (0.09, 0.24),
    "typewriter": (0.11, 0.3),
    "coins": (0.15, 0.4),
    "wings flapping": (0.2, 0.4),
}
"""Shortest and longest usual time between the onsets of a label, in seconds."""

_BEATS = frozenset(
    [
        *("drum kit", "electronic drum beat", "kick drum", "snare drum", "hi-hat", "tom drum", "cymbal"),
        *("cowbell", "clapping", "tambourine", "maracas or shaker", "castanets or claves", "beatboxing"),
        *("congas or bongos", "djembe or hand drum", "tabla or hand percussion", "timbales or agogo"),
    ]
)
_ROLES = {
    "kick": ("kick", "bass drum", "bassdrum", "bd", "bdrum"),
    "snare": ("snare", "sn", "sd", "rim", "clap", "stick"),
    "hat": ("hat", "hh", "shaker", "tamb", "maraca", "cabasa"),
    "cymbal": ("crash", "ride", "splash", "cymbal", "china"),
}
_SMALLEST_LEVEL = 0.25  # of the loudest one-shot
_TAIL_SECONDS = 0.05


def generator(name: str) -> np.random.Generator:
    """Returns a generator whose numbers depend on a name alone."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))


def arrange(name: str, label: str, seconds: float, parts: Sequence[tuple[str, Mono]]) -> Mono:
    """Returns a clip of about `seconds` from one-shots, each its path and its sound at `RATE_HZ`.

    Labels of percussion become a pattern of sixteenth notes, those with a pace become steps. All others
    play the one-shots one after the other, with pauses.
    """
    rng = generator(f"arrangement {name}")
    shots = [(path, shot) for path, sound in parts if len(shot := trim(sound))]
    if not shots:
        return np.zeros(0, np.float32)
    loudest = max(float(np.max(np.abs(shot))) for _, shot in shots)
    shots = [(path, _raised(shot, loudest * _SMALLEST_LEVEL)) for path, shot in shots]
    if label in _BEATS and len(shots) > 1:
        onsets = _pattern(rng, seconds, [path for path, _ in shots])
    elif label in _STEPS or label in _BEATS:
        onsets = _steps(rng, seconds, _STEPS.get(label, (0.2, 0.6)), len(shots))
    else:
        onsets = _sequence(rng, seconds, [len(shot) / RATE_HZ for _, shot in shots])
    clip = np.zeros(round(seconds * RATE_HZ), np.float32)
    for time, index, gain in onsets:
        first = round(time * RATE_HZ)
        shot = shots[index][1][: max(0, len(clip) - first)]
        clip[first : first + len(shot)] += np.float32(gain) * shot
    tail = min(round(_TAIL_SECONDS * RATE_HZ), len(clip))
    if tail:
        clip[-tail:] *= np.linspace(1, 0, tail, dtype=np.float32)
    return trim(clip)


Onset = tuple[float, int, float]
"""Time in seconds, number of the one-shot, gain."""


def _raised(shot: Mono, lowest: float) -> Mono:
    peak = float(np.max(np.abs(shot)))
    return shot * np.float32(max(1.0, lowest / peak))


def _sequence(rng: np.random.Generator, seconds: float, lengths: Sequence[float]) -> list[Onset]:
    """Plays each one-shot once, or all in turn until the time is over; each begins after the one before."""
    order = [*range(len(lengths))]
    shortest_pause = 0.12
    played = sum(lengths) + shortest_pause * (len(lengths) - 1)
    while played + lengths[len(order) % len(lengths)] + 3 * shortest_pause < seconds:
        following = len(order) % len(lengths)
        order.append(following)
        played += lengths[following] + shortest_pause
    free = max(0.0, seconds - sum(lengths[index] for index in order))
    shares = rng.dirichlet(np.full(max(1, len(order) - 1), 8.0))
    onsets, time = [], 0.0
    for place, index in enumerate(order):
        if time >= seconds - 0.05:
            break
        onsets.append((time, index, float(rng.uniform(0.8, 1.0))))
        time += lengths[index] + (float(shares[place]) * free if place < len(order) - 1 else 0.0)
    return onsets


def _steps(rng: np.random.Generator, seconds: float, pace: tuple[float, float], count: int) -> list[Onset]:
    """Plays one-shots at a pace with small deviations, never one twice in a row."""
    period = float(rng.uniform(*pace))
    onsets: list[Onset] = []
    time, last = 0.0, -1
    while time < seconds - 0.1:
        choices = [index for index in range(count) if index != last] or [0]
        last = int(choices[rng.integers(len(choices))])
        onsets.append((time, last, float(rng.uniform(0.6, 1.0))))
        time += period * float(rng.uniform(0.88, 1.12))
    return onsets


def _pattern(rng: np.random.Generator, seconds: float, paths: Sequence[str]) -> list[Onset]:
    """Plays a bar of sixteenth notes again and again, with one-shots by their role in a drum kit."""
    step = 60 / float(rng.uniform(84, 138)) / 4
    roles: dict[str, list[int]] = {}
    for index, path in enumerate(paths):
        roles.setdefault(_role(path), []).append(index)
    bar: list[list[tuple[int, float]]] = [[] for _ in range(16)]
    for role, indices in roles.items():
        for place in _places(rng, role):
            bar[place].append((int(indices[rng.integers(len(indices))]), float(rng.uniform(0.6, 1.0))))
    if "cymbal" in roles and len(roles) > 1:
        bar[0].append((roles["cymbal"][0], 0.7))
    onsets, time, place = [], 0.0, 0
    while time < seconds - 0.1:
        onsets += [(time, index, gain * float(rng.uniform(0.85, 1.0))) for index, gain in bar[place % 16]]
        time, place = time + step, place + 1
    first = min(time for time, _, _ in onsets)
    return [(time - first, index, gain) for time, index, gain in onsets]


def _places(rng: np.random.Generator, role: str) -> list[int]:
    if role == "kick":
        return [0, *sorted({8, *map(int, rng.choice([3, 6, 7, 10, 11, 14], 2, replace=False))})]
    if role == "snare":
        return [4, 12, *map(int, rng.choice([7, 9, 15], 1))]
    if role == "hat":
        return [*range(0, 16, int(rng.choice([1, 2, 2, 4])))]
    if role == "cymbal":
        return [0]
    return sorted(map(int, rng.choice(16, int(rng.integers(5, 9)), replace=False)))


def _role(path: str) -> str:
    name = path.rsplit("/", 1)[-1].lower().replace("_", " ").replace("-", " ")
    words = name.split(".")[0].split()
    for role, hints in _ROLES.items():
        if any(hint in name if len(hint) > 3 else hint in words for hint in hints):
            return role
    return "other"
