"""The suites: which lists they read, how their files are named, and how their numbers are pooled."""

import csv
import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from audiosep_jax.errors import EvaluationError, printable, shown
from audiosep_jax.evals.source_recordings import recording_of
from audiosep_jax.evals.statistics import Pooling
from audiosep_jax.evals.suites.mixtures import Mixture, Query

MANIFEST = "manifest.json"
# SNRs drawn from a range are grouped by the nearest multiple of this.
SNR_STEP_DB = 5

SEPARATION = ("sdri_db", "si_sdr_db", "sdr_db", "si_sdri_db")
SPEECH = ("pesq", "csig", "cbak", "covl", "segsnr_db", "stoi")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """One list of mixtures, which `read(metadata folder, root folder)` returns; see `statistics.pool`."""

    name: str
    read: Callable[[Path, Path], list[Mixture]]
    pooling: Pooling = "mean"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
    """A benchmark: datasets and metrics in the order of tables.

    Attributes:
      measure_hz: rate at which estimates are measured.
      full_band: whether a model of a higher rate gets the mixture at the rate of its file.
      digest: hash of all files from the manifest; "" without one.
    """

    name: str
    datasets: tuple[Dataset, ...]
    measure_hz: int
    metrics: tuple[str, ...] = SEPARATION
    speech: bool = False
    full_band: bool = False
    digest: str = ""


def read_rows(
    path: Path, *, columns: Sequence[str], synonyms: Mapping[str, str] | None = None
) -> list[list[str]]:
    """Returns the rows of a CSV file below its header.

    Columns are taken by position, because Clotho's header names one twice. With `synonyms` (other name to
    column name) they may be in any order; rows are returned in the order of `columns`.

    Raises:
      EvaluationError: the file is missing, unreadable or empty, or a row has another number of cells.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except FileNotFoundError:
        raise EvaluationError(
            f"{printable(path)} does not exist: give the folder of the benchmark's lists as --metadata."
        ) from None
    except (OSError, ValueError, csv.Error) as error:
        raise EvaluationError(f"{printable(path)} is not a readable CSV file: {shown(error)}.") from error
    names = [cell.strip() for cell in header]
    places = list(range(len(columns)))
    if synonyms is not None:
        names = [synonyms.get(name, name) for name in names]
        if sorted(names) == sorted(columns):
            places = [names.index(name) for name in columns]
            names = list(columns)
    if names != list(columns):
        raise EvaluationError(
            f"{printable(path)} has the columns {shown(', '.join(header))}, but {', '.join(columns)} are "
            "needed: give the benchmark's own list."
        )
    rows = [row for row in rows if row]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise EvaluationError(
                f"{printable(path)} has {len(row)} cells in row {number}, but {len(columns)} are needed: "
                "quote cells that hold commas."
            )
    if not rows:
        raise EvaluationError(f"{printable(path)} lists no mixture: get a complete copy of it.")
    return [[row[place] for place in places] for row in rows]


def _rendered(
    name: str, *, label: bool, source: Callable[[str], str] = str
) -> Callable[[Path, Path], list[Mixture]]:
    """Returns a reader of lists whose row `idx` is segment-{idx}.wav, the target, and mixture-{idx}.wav."""
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
        # Paths of the list start at the reference's working directory: evaluation/data/audioset/class_id=0/….
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
        # The evaluator names the last column caption, the published list names it query.
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
    """Reads log_testset.txt: an utterance, its noise and its SNR in dB per line, "p232_001 bus 2.5"."""
    log, mixtures = metadata / "log_testset.txt", []
    try:
        lines = log.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise EvaluationError(
            f"{printable(log)} cannot be read: give the folder of VoiceBank-DEMAND's logfiles as --metadata."
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
                Dataset(name="audiocaps", read=_rendered("audiocaps", label=False)),
                Dataset(name="clotho", read=_rendered("clotho", label=False)),
                Dataset(
                    name="music", read=_rendered("music", label=True, source=_video), pooling="class_mean"
                ),
                Dataset(name="esc50", read=_rendered("esc50", label=True, source=recording_of)),
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


def rendered_suite(root: Path) -> Suite:
    """Returns a corpus of `audiosep render` as a suite, measured at the corpus's rate.

    Raises:
      EvaluationError: the folder holds no corpus, or its manifest is damaged.
    """
    path = root / MANIFEST
    try:
        manifest = json.loads(path.read_text("utf-8"))
        recipe, name = manifest["recipe"], str(manifest["name"])
        kind, drawn = str(recipe["query"]), bool(recipe["snr_range_db"])
        mixtures = [
            Mixture(
                dataset=name,
                id=str(int(one["index"])),
                target=root / f"segment-{int(one['index'])}.wav",
                other=root / f"mixture-{int(one['index'])}.wav",
                queries=(Query(kind=kind, text=str(one["caption"])),),
                label=str(one["label"]),
                source=str(one["parts"][0].get("recording") or one["parts"][0]["file"]),
                snr_db=_rounded(float(one["snr_db"])) if drawn else float(one["snr_db"]),
            )
            for one in manifest["mixtures"]
        ]
        rate, digest = int(recipe["sample_rate_hz"]), str(manifest["digest"])
    except FileNotFoundError:
        raise EvaluationError(
            f"{printable(path)} does not exist: give the output folder of audiosep render as --root."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise EvaluationError(f"{printable(path)} is damaged: render the corpus again.") from error
    if not mixtures or rate < 1:
        raise EvaluationError(f"{printable(path)} lists no mixture: render the corpus again.")
    dataset = Dataset(name=name, read=lambda metadata, root: mixtures)
    return Suite(name="rendered", datasets=(dataset,), measure_hz=rate, digest=digest)


def _rounded(snr_db: float) -> float:
    # Adding zero turns -0 into 0.
    return SNR_STEP_DB * round(snr_db / SNR_STEP_DB) + 0.0
