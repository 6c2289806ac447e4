"""What a model loses by windows: ours and the reference's, on long mixtures of the bundled clips.

Run `python -m benchmarks.windows`. Each mixture is a sequence of the held-out clips of one label and one of
another's, at equal energy; the target is the first. SI-SDR is that of the whole estimate. "off the whole" is
the energy of the difference from what the model says of the sound in one piece, relative to that: what the
cuts alone change.
"""

import csv
import dataclasses
import itertools
import statistics

import jax.numpy as jnp
import numpy as np
import tyro

import audiosep_jax
from audiosep_jax.audio.files import read_audio
from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals.metrics import si_sdr_db
from audiosep_jax.evals.statistics import bootstrap_interval
from audiosep_jax.separation.api import BUNDLED_CHECKPOINT, AudioSep

DEMO = BUNDLED_CHECKPOINT.parent / "demo"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Compare windows."""

    checkpoint: str | None = None
    """Folder or name of the model; without it the bundled one is measured."""
    seconds: float = 30.0
    """Length of a mixture."""
    mixtures: int = 45
    """How many mixtures, at most one for each ordered pair of labels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """Of one mixture, by name of the windows: dB each.

    Attributes:
      target, interferer: labels.
      si_sdr_db: of the estimate against the target.
      off_whole_db: energy of what the cuts change, relative to the estimate in one piece; -inf for none.
    """

    target: str
    interferer: str
    si_sdr_db: dict[str, float]
    off_whole_db: dict[str, float]


def measure(args: BenchmarkArgs) -> list[Measurement]:
    """Separates every mixture three times.

    Raises:
      AudioSepError: the model cannot be loaded.
    """
    model = audiosep_jax.load(args.checkpoint)
    tracks, captions = _tracks(model.sample_rate_hz, round(args.seconds * model.sample_rate_hz))
    pairs = list(itertools.permutations(sorted(tracks), 2))
    chosen = np.random.default_rng(0).permutation(len(pairs))[: args.mixtures]
    return [_measure(model, tracks, captions, *pairs[index]) for index in chosen]


def _measure(
    model: AudioSep, tracks: dict[str, np.ndarray], captions: dict[str, str], target: str, interferer: str
) -> Measurement:
    mixture = tracks[target] + tracks[interferer]
    scale = np.float32(0.9) / np.abs(mixture).max()
    mixture, truth = scale * mixture, scale * tracks[target]
    condition = model.condition(query=captions[target])
    whole = np.asarray(model.apply(jnp.asarray(mixture)[None], jnp.asarray(condition)[None]))[0]
    estimates = {"whole": whole}
    for name, upstream in (("ours", False), ("upstream", True)):
        result = model.separate(mixture, model.sample_rate_hz, condition=condition, upstream_windows=upstream)
        estimates[name] = result.estimate
    return Measurement(
        target=target,
        interferer=interferer,
        si_sdr_db={name: float(si_sdr_db(truth, estimate)) for name, estimate in estimates.items()},
        off_whole_db={name: _energy_db(estimate - whole, whole) for name, estimate in estimates.items()},
    )


def _tracks(rate: int, samples: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns a sequence of the held-out clips of each label, of unit energy, and a caption of each."""
    clips: dict[str, list[np.ndarray]] = {}
    captions: dict[str, str] = {}
    with (DEMO / "clips.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == "validation":
                sound = read_audio(DEMO / row["file"], sample_rate_hz=rate, mono=True).waveform[0]
                clips.setdefault(row["label"], []).append(sound)
                captions.setdefault(row["label"], row["captions"].split("|")[0])
    tracks = {}
    for label, sounds in clips.items():
        # The clips are shorter than a window: they follow each other until the track is full.
        joined = np.concatenate(sounds)
        track = np.tile(joined, -(-samples // len(joined)))[:samples]
        tracks[label] = (track / np.linalg.norm(track)).astype(np.float32)
    return tracks, captions


def _energy_db(part: np.ndarray, whole: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(20 * np.log10(np.linalg.norm(part) / np.linalg.norm(whole)))


def table(measurements: list[Measurement]) -> str:
    """Returns a Markdown table with a row per kind of windows; intervals are 95 % over labels."""
    rows = [
        "| windows | SI-SDR | against the whole | off the whole, median | worst |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    targets = [each.target for each in measurements]
    whole = np.array([each.si_sdr_db["whole"] for each in measurements])
    rows.append(f"| none: the whole | {whole.mean():.2f} dB | | | |")
    for name in ("ours", "upstream"):
        values = np.array([each.si_sdr_db[name] for each in measurements])
        gain = bootstrap_interval(values - whole, groups=targets)
        off = [each.off_whole_db[name] for each in measurements]
        rows.append(
            f"| {name} | {values.mean():.2f} dB | {gain.mean:+.2f} dB ({gain.low:+.2f} … {gain.high:+.2f}) | "
            f"{statistics.median(off):.1f} dB | {max(off):.1f} dB |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    try:
        print(table(measure(tyro.cli(BenchmarkArgs))))
    except AudioSepError as error:
        raise SystemExit(f"error: {error}") from None
