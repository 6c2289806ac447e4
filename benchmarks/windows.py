"""Loss of quality by windows, ours and the reference's, on long mixtures of the bundled clips.

Run `python -m benchmarks.windows`. Each mixture is a sequence of the held-out clips of one label, the target,
and a sequence of another label's, at equal energy. SI-SDR is that of the whole estimate. "off the whole" is
the energy of the difference from the estimate without windows, relative to that estimate.
"""

import csv
import dataclasses
import itertools
import statistics

import jax.numpy as jnp
import numpy as np

import audiosep_jax
from audiosep_jax.audio.reading import read_audio
from audiosep_jax.evals.metrics import si_sdr_db
from audiosep_jax.evals.statistics import bootstrap_interval
from audiosep_jax.separation.api import AudioSep
from benchmarks import timing


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Compare windows."""

    checkpoint: str | None = None
    """Folder or name of the model; without it the bundled one is measured."""
    seconds: float = 30.0
    """Length of a mixture."""
    mixtures: int = 45
    """Number of mixtures, at most one for each ordered pair of labels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """Results of one mixture of two labels in dB, by the name of the windows.

    `off_whole_db` is the energy of the difference from the estimate without windows, relative to it; -inf for
    none.
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
        result = model.separate(
            mixture, model.sample_rate_hz, condition=condition, upstream_windows=upstream, level="as_is"
        )
        estimates[name] = result.estimate
    return Measurement(
        target=target,
        interferer=interferer,
        si_sdr_db={name: float(si_sdr_db(truth, estimate)) for name, estimate in estimates.items()},
        off_whole_db={name: _energy_db(estimate - whole, whole) for name, estimate in estimates.items()},
    )


def _tracks(rate: int, samples: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns for each label a sequence of its held-out clips, of unit energy, and a caption."""
    clips: dict[str, list[np.ndarray]] = {}
    captions: dict[str, str] = {}
    with (timing.DEMO / "clips.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == "validation":
                sound = read_audio(timing.DEMO / row["file"], sample_rate_hz=rate, mono=True).waveform[0]
                clips.setdefault(row["label"], []).append(sound)
                captions.setdefault(row["label"], row["captions"].split("|")[0])
    tracks = {}
    for label, sounds in clips.items():
        # The clips are shorter than a window: they are repeated until the track is full.
        joined = np.concatenate(sounds)
        track = np.tile(joined, -(-samples // len(joined)))[:samples]
        tracks[label] = (track / np.linalg.norm(track)).astype(np.float32)
    return tracks, captions


def _energy_db(part: np.ndarray, whole: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(20 * np.log10(np.linalg.norm(part) / np.linalg.norm(whole)))


def table(measurements: list[Measurement]) -> str:
    """Returns a Markdown table with a row per kind of windows; intervals are 95 % over labels."""
    columns = ("windows", "SI-SDR", "against the whole", "off the whole, median", "worst")
    targets = [each.target for each in measurements]
    whole = np.array([each.si_sdr_db["whole"] for each in measurements])
    rows = [["none: the whole", f"{whole.mean():.2f} dB", "", "", ""]]
    for name in ("ours", "upstream"):
        values = np.array([each.si_sdr_db[name] for each in measurements])
        gain = bootstrap_interval(values - whole, groups=targets)
        off = [each.off_whole_db[name] for each in measurements]
        interval = f"{gain.mean:+.2f} dB ({gain.low:+.2f} … {gain.high:+.2f})"
        changed = [f"{value:.1f} dB" for value in (statistics.median(off), max(off))]
        rows.append([name, f"{values.mean():.2f} dB", interval, *changed])
    return timing.markdown(columns, rows)


if __name__ == "__main__":
    timing.run(lambda args: table(measure(args)), BenchmarkArgs)
