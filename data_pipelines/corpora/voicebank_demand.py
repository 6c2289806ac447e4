"""VoiceBank-DEMAND (C. Valentini-Botinhao, "Noisy speech database for training speech enhancement", 2017)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from audiosep_jax.errors import DatasetError
from data_pipelines.corpora.corpus import Corpus
from data_pipelines.corpora.tables import find_file
from data_pipelines.mixtures.clips import ClipRow
from data_pipelines.prepare.media_encoding import DifferenceEncoder

SPEECH = "speech"
"""The caption of clean speech, and the query of the benchmark."""

# What the logs call the noises -> a caption. Babble and speech-shaped noise were made from speech.
_NOISES = {
    "babble": "people talking in the background",
    "bus": "noise inside a bus",
    "cafe": "noise of a cafe",
    "cafeteria": "noise of a cafeteria",
    "car": "noise inside a car",
    "kitchen": "noise of a kitchen",
    "living": "noise of a living room",
    "meeting": "noise of a meeting room",
    "metro": "noise inside a subway train",
    "office": "noise of an office",
    "psquare": "noise of a public square",
    "restaurant": "noise of a restaurant",
    "ssn": "steady noise that is shaped like speech",
    "station": "noise of a subway station",
    "traffic": "traffic noise",
}


class VoiceBankDemand(Corpus):
    """VoiceBank-DEMAND: read sentences, clean and in noise.

    The folder is as the archives unpack: `clean_trainset_28spk_wav/p226_001.wav`, …, `clean_testset_wav/`,
    and for 56 speakers `clean_trainset_56spk_wav/`; a suffix such as `_16k` is accepted. Clean speech becomes
    clips with the caption "speech". The transcripts (`trainset_28spk_txt/`, …) are not used: what is said is
    not what is separated. If `log_trainset_28spk.txt` and its like are there (also in `logfiles/`),
    utterances that they name and that have no file are missing.

    The noise is the noisy file (`noisy_trainset_28spk_wav/`, …) minus the clean one, which is exact, as they
    were added. With `noise` it becomes clips of its own, so that a training meets the noises that go with
    this speech; their captions say which noise it is, which needs the logs. Clips of one noise count as one
    recording, so that no mixture holds the same noise twice.

    Args:
      noise: prepare the noises too.
      **kwargs: see `Corpus` and `ClipBuilder`.
    """

    name = "voicebank_demand"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The database of 2017."}  # noqa: RUF012
    HOMEPAGE = "https://datashare.ed.ac.uk/handle/10283/2791"
    LICENCE = "CC BY 4.0"
    CITATION = """@misc{valentini2017noisy,
  title = {Noisy speech database for training speech enhancement algorithms and {TTS} models},
  author = {Valentini-Botinhao, Cassia},
  publisher = {University of Edinburgh, School of Informatics, Centre for Speech Technology Research (CSTR)},
  doi = {10.7488/ds/2117},
  year = {2017}
}"""
    SPLITS = ("trainset_28spk", "trainset_56spk", "testset")
    COUNTS = {"trainset_28spk": 11_572, "trainset_56spk": 23_075, "testset": 824}  # noqa: RUF012

    needs = "clean_trainset_28spk_wav/ and clean_testset_wav/"

    def __init__(self, *, source: str | Path, noise: bool = False, **kwargs: Any):
        self._noise = noise
        super().__init__(source=source, **kwargs)

    def encoder(self) -> DifferenceEncoder:
        """Returns what reads clean speech as it is and noise as a difference."""
        return DifferenceEncoder(self.source, self.sample_rate_hz)

    def find_tables(self, split: str) -> Sequence[Path]:
        """Returns the folder of a split's clean speech, as most people have no logs, and the log."""
        log = find_file(self.source, f"log_{split}.txt", "logfiles")
        folders = (*self.source.glob(f"clean_{split}*"), *self.source.glob(f"*/clean_{split}*"))
        folder = next((path for path in sorted(folders) if path.is_dir()), None)
        if folder is None:
            return []
        return [folder, log] if log else [folder]

    def read_split(self, split: str, tables: Sequence[Path]) -> Iterator[ClipRow]:
        """Yields the clean speech of each utterance and, if it is wanted, its noise."""
        noises = _read_log(tables[1]) if len(tables) > 1 else {}
        if self._noise and not noises:
            raise DatasetError(
                f"{self.source} has no log_{split}.txt, which says what the noises are: put it there, or "
                "leave --noise out."
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
    """Returns the kind of noise of each utterance: lines of name, noise and signal-to-noise ratio."""
    noises = {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}): give the log of VoiceBank-DEMAND.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        fields = line.split()
        if len(fields) != 3:
            raise DatasetError(
                f"{path}, line {number} is not a name, a noise and a signal-to-noise ratio: give the log of "
                "VoiceBank-DEMAND."
            )
        noises[fields[0].removesuffix(".wav")] = fields[1]
    return noises
