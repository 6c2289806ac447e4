"""The suites: which lists they read, how files are named, and how their numbers are pooled."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from audiosep_jax.errors import EvaluationError, printable
from audiosep_jax.evals.source_recordings import recording_of
from audiosep_jax.evals.suites.lists import read_rows
from audiosep_jax.evals.suites.mixtures import Mixture, Query

Pooling = Literal["mean", "class_mean", "class_median"]

SEPARATION = ("sdri_db", "si_sdr_db", "sdr_db", "si_sdri_db")
SPEECH = ("pesq", "csig", "cbak", "covl", "segsnr_db", "stoi")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """One list of mixtures.

    Attributes:
      name: of its folder and in tables.
      read: `(metadata folder, root folder) -> mixtures`.
      pooling: of all mixtures, or of the means or medians of the classes.
    """

    name: str
    read: Callable[[Path, Path], list[Mixture]]
    pooling: Pooling = "mean"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
    """A benchmark.

    Attributes:
      name: as the command takes it.
      datasets: in the order of tables.
      measure_hz: rate at which estimates are measured.
      metrics: in the order of tables; the first one is drawn.
      speech: whether estimates are measured as speech, too.
      full_band: whether a model of a higher rate is given all that the files hold.
      digest: hash of all files, where a manifest says it.
    """

    name: str
    datasets: tuple[Dataset, ...]
    measure_hz: int
    metrics: tuple[str, ...] = SEPARATION
    speech: bool = False
    full_band: bool = False
    digest: str = ""


def _rendered(name: str, label: bool, source: Callable[[str], str]) -> Callable[[Path, Path], list[Mixture]]:
    """Reads lists whose row `idx` is segment-{idx}.wav, the target, and mixture-{idx}.wav."""
    columns = {
        "audiocaps": ("idx", "caption", "labels", "src_wav", "noise_wav"),
        "clotho": ("idx", "caption", "src_wav", "noise_wav1", "noise_wav1"),
    }.get(name, ("idx", "caption", "src_wav", "noise_wav"))

    def read(metadata: Path, root: Path) -> list[Mixture]:
        mixtures = []
        for row in read_rows(metadata / f"{name}_eval.csv", columns=columns):
            idx, caption = row[0], row[1]
            queries = [Query(kind="label" if label else "caption", text=caption)]
            if "labels" in columns:
                queries.append(Query(kind="label", text=row[2]))
            mixtures.append(
                Mixture(
                    dataset=name,
                    id=idx,
                    target=root / name / f"segment-{idx}.wav",
                    other=root / name / f"mixture-{idx}.wav",
                    queries=tuple(queries),
                    label=caption if label else "",
                    source=source(row[columns.index("src_wav")]),
                )
            )
        return mixtures

    return read


def _read_audioset(metadata: Path, root: Path) -> list[Mixture]:
    mixtures = []
    for _, caption, source, mixture in read_rows(
        metadata / "audioset_eval.csv", columns=("idx", "caption", "src_wav", "noise_wav")
    ):
        # The list's paths start where the reference is run, evaluation/data/audioset/class_id=0/….
        below = [Path(*Path(path).parts[-2:]) for path in (source, mixture)]
        mixtures.append(
            Mixture(
                dataset="audioset",
                id=below[0].name.removesuffix(",source.wav"),
                target=root / "audioset" / below[0],
                other=root / "audioset" / below[1],
                queries=(Query(kind="label", text=caption),),
                label=caption,
                source=below[0].name,
            )
        )
    return mixtures


def _read_vggsound(metadata: Path, root: Path) -> list[Mixture]:
    columns = ("file_id", "mix_wav", "s0_wav", "s0_text", "s1_wav", "s1_text")
    return [
        Mixture(
            dataset="vggsound",
            id=file_id,
            target=root / "vggsound" / target,
            other=root / "vggsound" / mixture,
            queries=(Query(kind="label", text=label),),
            label=label,
            source=file_id.split("+++")[0],
        )
        for file_id, mixture, target, label, _, _ in read_rows(
            metadata / "vggsound_eval.csv", columns=columns
        )
    ]


def _read_dcase(metadata: Path, root: Path) -> list[Mixture]:
    table = metadata / "lass_synthetic_validation.csv"
    folder = root / "lass_validation" if (root / "lass_validation").is_dir() else root
    mixtures = []
    for number, (source, noise, snr, caption) in enumerate(
        # The evaluator calls the last column caption, the list that is handed out calls it query.
        read_rows(table, columns=("source", "noise", "snr", "caption"), synonyms={"query": "caption"})
    ):
        try:
            snr_db = float(int(snr))
        except ValueError:
            raise EvaluationError(
                f"{printable(table)} has the snr {snr!r} in row {number + 2}: a whole number of dB is needed."
            ) from None
        mixtures.append(
            Mixture(
                dataset="dcase",
                id=str(number),
                target=folder / f"{source}.wav",
                other=folder / f"{noise}.wav",
                mix_at_db=snr_db,
                queries=(Query(kind="caption", text=caption),),
                source=source,
                snr_db=snr_db,
            )
        )
    return mixtures


def _read_voicebank(metadata: Path, root: Path) -> list[Mixture]:
    """Reads log_testset.txt, a line "p232_001 bus 2.5" per utterance: its noise and its SNR in dB."""
    log, mixtures = metadata / "log_testset.txt", []
    try:
        lines = log.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise EvaluationError(
            f"{printable(log)} cannot be read: give --metadata the folder with VoiceBank-DEMAND's logfiles."
        ) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            name, noise, snr = line.split()
            snr_db = float(snr)
        except ValueError:
            raise EvaluationError(
                f"{printable(log)} has no name, noise and SNR in line {number}: get a complete copy of it."
            ) from None
        mixtures.append(
            Mixture(
                dataset="voicebank",
                id=name,
                target=root / "clean_testset_wav" / f"{name}.wav",
                other=root / "noisy_testset_wav" / f"{name}.wav",
                queries=(Query(kind="speech", text="speech"),),
                label=noise,
                source=name,
                snr_db=snr_db,
            )
        )
    if not mixtures:
        raise EvaluationError(f"{printable(log)} lists no utterance: get a complete copy of it.")
    return mixtures


def _whole(source: str) -> str:
    return source


def _video(source: str) -> str:
    # Y1mCi6eWXVbg_0.wav and …_1.wav are segments of one video.
    return re.sub(r"_\d+\.wav$", "", source)


SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            name="audiosep",
            datasets=(
                Dataset(name="audioset", read=_read_audioset, pooling="class_median"),
                Dataset(name="vggsound", read=_read_vggsound),
                Dataset(name="audiocaps", read=_rendered("audiocaps", False, _whole)),
                Dataset(name="clotho", read=_rendered("clotho", False, _whole)),
                Dataset(name="music", read=_rendered("music", True, _video), pooling="class_mean"),
                Dataset(name="esc50", read=_rendered("esc50", True, recording_of)),
            ),
            measure_hz=32_000,
        ),
        Suite(
            name="dcase",
            datasets=(Dataset(name="dcase", read=_read_dcase),),
            measure_hz=16_000,
            metrics=("sdr_db", "sdri_db", "si_sdr_db", "si_sdri_db"),
        ),
        Suite(
            name="voicebank",
            datasets=(Dataset(name="voicebank", read=_read_voicebank),),
            measure_hz=16_000,
            metrics=(*SPEECH, *SEPARATION),
            speech=True,
            full_band=True,
        ),
    )
}
