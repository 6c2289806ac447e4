"""Small datasets of tones: every clip has its own frequency, so a crop identifies its clip."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_pipelines.corpora.audio_folder import AudioFolder
from data_pipelines.prepare.build import prepare

RATE = 8000


def tone(index: int, *, seconds: float, rate: int = RATE) -> np.ndarray:
    """Returns a tone whose frequency and slope identify the clip; no two samples of it are alike."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.2 + 0.1 * time / max(seconds, 1)) * np.sin(2 * np.pi * (200 + 37 * index) * time)


def write_wav(path: Path, waveform: np.ndarray, *, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, rate, subtype="PCM_16")


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_folder(folder: Path, *, labels: int = 4, per_label: int = 3, seconds: float = 2.0) -> Path:
    """Writes `labels · per_label` tones and their clips.csv."""
    rows = []
    for index in range(labels * per_label):
        label = index % labels
        write_wav(folder / f"{index:02}.wav", tone(index, seconds=seconds + 0.1 * index))
        rows.append(
            {
                "file": f"{index:02}.wav",
                "captions": f"tone {label}|a tone of {label}",
                "label": f"class {label}",
            }
        )
    write_table(folder / "clips.csv", rows)
    return folder


def prepared(source: Path, out: Path, **options) -> Path:
    """Prepares a folder of sounds and returns the dataset's folder."""
    options.setdefault("sample_rate_hz", RATE)
    prepare(lambda work: AudioFolder(source=source, data_dir=work, **options), out)
    return out


def digests(folder):
    """SHA-256 of every file of a folder, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="session")
def tones(tmp_path_factory) -> Path:
    """A folder of 12 tones of 2 to 3.1 s, four labels, and clips.csv."""
    return write_folder(tmp_path_factory.mktemp("tones") / "source")


@pytest.fixture(scope="session")
def dataset(tones, tmp_path_factory) -> Path:
    """The tones, prepared."""
    return prepared(tones, tmp_path_factory.mktemp("prepared") / "tones")
