"""VoiceBank-DEMAND (C. Valentini-Botinhao, "Noisy speech database for training speech enhancement", 2017)."""

import dataclasses
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiosep_jax.errors import DatasetError
from data_pipelines.corpora.citations import citation
from data_pipelines.corpora.corpus import Corpus
from data_pipelines.corpora.tables import find_file, read_lines
from data_pipelines.mixtures.clips import ClipRow
from data_pipelines.prepare.encoding import MediaEncoder

SPEECH = "speech"
"""The caption of clean speech, and the query of the benchmark."""

# Name of a noise in the logs -> caption. Babble and speech-shaped noise were made from speech.
_NOISES: dict[str, str] = json.loads(
    Path(__file__).with_name("voicebank_demand_noises.json").read_text("utf-8")
)


class DifferenceEncoder(MediaEncoder):
    """Reads the noise of noisy speech: a file below `noisy_…/` minus the file of its name in `clean_…/`."""

    def waveform(self, row: ClipRow) -> np.ndarray:
        """Returns the mono sound of a clip; two files of different lengths are an error."""
        waveform = super().waveform(row)
        other = clean_counterpart(row.file)
        if not other:
            return waveform
        clean = super().waveform(dataclasses.replace(row, file=other))
        if len(clean) != len(waveform):
            raise DatasetError(
                f"{self.source / row.file} has {len(waveform)} samples and {other} has {len(clean)}: their "
                "difference is the noise, so give both as they were published."
            )
        return waveform - clean

    def stamp(self, row: ClipRow) -> str:
        """Returns the stamps of both files; see the base class."""
        other = clean_counterpart(row.file)
        one = super().stamp(row)
        return f"{one} {super().stamp(dataclasses.replace(row, file=other))}" if other else one


def clean_counterpart(file: str) -> str:
    """Returns the path of the clean speech in a noisy file, "" for a path that is not below `noisy_…/`.

    >>> clean_counterpart("noisy_testset_wav/p232_001.wav")
    'clean_testset_wav/p232_001.wav'
    """
    *folders, name = file.split("/")
    if not folders or not folders[-1].startswith("noisy_"):
        return ""
    parts = (re.sub("^noisy_", "clean_", folder) for folder in folders)
    return "/".join((*parts, name))


class VoiceBankDemand(Corpus):
    """VoiceBank-DEMAND: read sentences, clean and in noise.

    The folder holds the unpacked archives: `clean_trainset_28spk_wav/p226_001.wav`, …, `clean_testset_wav/`,
    and for 56 speakers `clean_trainset_56spk_wav/`; a suffix such as `_16k` is accepted. Clean speech becomes
    clips with the caption "speech". The transcripts (`trainset_28spk_txt/`, …) are not used. If logs such as
    `log_trainset_28spk.txt` are there (also in `logfiles/`), their utterances without a file are reported as
    missing.

    With `noise`, each noise becomes a clip too: the noisy file (`noisy_trainset_28spk_wav/`, …) minus the
    clean one, which is exact because noisy files are sums. Its caption names the noise, which needs the logs.
    All clips of one noise count as one recording, so no mixture has the same noise twice.
    """

    name = "voicebank_demand"
    RELEASE_NOTES = {"1.0.0": "The database of 2017."}  # noqa: RUF012
    HOMEPAGE = "https://datashare.ed.ac.uk/handle/10283/2791"
    LICENCE = "CC BY 4.0"
    CITATION = citation("valentini2017noisy")
    SPLITS = ("trainset_28spk", "trainset_56spk", "testset")
    COUNTS = {"trainset_28spk": 11_572, "trainset_56spk": 23_075, "testset": 824}  # noqa: RUF012

    needs = "clean_trainset_28spk_wav/ and clean_testset_wav/"

    def __init__(self, *, source: str | Path, noise: bool = False, **kwargs: Any):
        self._noise = noise
        super().__init__(source=source, **kwargs)

    def encoder(self) -> DifferenceEncoder:
        """Returns the reader of clean speech and of noise, which is a difference."""
        return DifferenceEncoder(self.source, self.sample_rate_hz)

    def find_tables(self, split: str) -> Sequence[Path]:
        """Returns the folder of a split's clean speech and, if it is there, the log."""
        log = find_file(self.source, f"log_{split}.txt", "logfiles")
        folders = (*self.source.glob(f"clean_{split}*"), *self.source.glob(f"*/clean_{split}*"))
        folder = next((path for path in sorted(folders) if path.is_dir()), None)
        if folder is None:
            return []
        return [folder, log] if log else [folder]

    def read_split(self, split: str, tables: Sequence[Path]) -> Iterator[ClipRow]:
        """Yields the clean speech of each utterance and, with `noise`, its noise."""
        noises = _read_log(tables[1]) if len(tables) > 1 else {}
        if self._noise and not noises:
            raise DatasetError(
                f"{self.source} has no log_{split}.txt, which names the noises: put it there, or leave "
                "--noise out."
            )
        clean = dict(self.files.in_folder(f"clean_{split}"))
        noisy = dict(self.files.in_folder(f"noisy_{split}"))
        for name in sorted({*clean, *noises}):
            yield ClipRow(
                file=clean.get(name, f"clean_{split}_wav/{name}.wav"),
                captions=(SPEECH,),
                label=SPEECH,
                source=name,
                split=split,
            )
            file = noisy.get(name, f"noisy_{split}_wav/{name}.wav")
            if self._noise and name in noises and (name in clean or name not in noisy):
                yield ClipRow(
                    file=file,
                    captions=(_NOISES.get(noises[name], f"{noises[name]} noise"),),
                    label=f"{noises[name]} noise",
                    source=f"DEMAND/{noises[name]}",
                    split=split,
                )


def _read_log(path: Path) -> dict[str, str]:
    """Returns the noise of each utterance; a line has a name, a noise and a signal-to-noise ratio."""
    noises = {}
    for number, line in enumerate(read_lines(path, what="the log of VoiceBank-DEMAND"), start=1):
        if not line:
            continue
        fields = line.split()
        if len(fields) != 3:
            raise DatasetError(
                f"{path}, line {number} is not a name, a noise and a signal-to-noise ratio: give the log of "
                "VoiceBank-DEMAND."
            )
        noises[fields[0].removesuffix(".wav")] = fields[1]
    return noises
