"""Mixtures for checking an export: bundled clips, mixed in pairs, and the user's own recordings."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from audiosep_jax.audio.reading import read_audio

CLIPS = Path(__file__).parents[1] / "assets" / "demo"

# Target, interferer, query: intermittent sounds over noise, and music over noise.
SCENES = (
    ("dog_barking_1.ogg", "rain_1.ogg", "a dog barking"),
    ("rooster_1.ogg", "waterfall_1.ogg", "a rooster crowing"),
    ("piano_1.ogg", "wind_1.ogg", "a piano playing"),
)
_PEAK = 0.9


@dataclasses.dataclass(frozen=True)
class Material:
    """A batch of mixtures with their conditions, by the name that the check shows."""

    name: str
    mixture: Float32[np.ndarray, "batch samples"]
    condition: Float32[np.ndarray, "batch size"]
    target: Float32[np.ndarray, "batch samples"] | None  # None if it is unknown


def batches(
    *,
    sample_rate_hz: int,
    samples: int,
    condition_of: Callable[[str], np.ndarray],
    recordings: Sequence[Path] = (),
) -> list[Material]:
    """Returns a batch of one bundled mixture, a batch of all of them, and a batch per recording.

    Each is a window of `samples` at the model's rate; shorter clips are repeated, longer ones cut. A
    recording gives its first window, with the condition of the first query. `condition_of` maps a query to
    `[size]`.

    Raises:
      AudioFileError: a recording cannot be read.
    """

    def window(path: Path) -> np.ndarray:
        waveform = read_audio(path, sample_rate_hz=sample_rate_hz, mono=True).waveform[0]
        return np.resize(waveform, samples)

    pairs = [(window(CLIPS / target), window(CLIPS / other)) for target, other, _ in SCENES]
    scenes = [_mixed(*pair) for pair in pairs]
    mixture, target = (np.stack(part) for part in zip(*scenes, strict=True))
    condition = np.stack([np.float32(condition_of(query)) for *_, query in SCENES])
    found = [
        Material("bundled mixture", mixture[:1], condition[:1], target[:1]),
        Material("bundled mixtures", mixture, condition, target),
    ]
    found += [Material(path.name, window(path)[None], condition[:1], None) for path in recordings]
    return found


def random_condition(size: int) -> Callable[[str], np.ndarray]:
    """Returns a substitute for a query encoder: a random unit vector that depends on the text only."""

    def condition_of(query: str) -> np.ndarray:
        vector = np.random.default_rng(list(query.encode())).standard_normal(size)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    return condition_of


def _mixed(target: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mixture and target; both sounds have the same energy."""
    energies = [np.sqrt(np.mean(np.square(sound, dtype=np.float64))) for sound in (target, other)]
    other = other * (energies[0] / max(energies[1], 1e-9))
    scale = _PEAK / max(np.abs(target + other).max(), _PEAK)
    return ((target + other) * scale).astype(np.float32), (target * scale).astype(np.float32)
