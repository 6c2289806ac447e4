"""How clips are read whose files may be videos."""

import dataclasses
import re
from collections.abc import Iterable
from typing import Self

import numpy as np

from audiosep_jax.errors import DatasetError
from data_pipelines.mixtures.clips import ClipRow
from data_pipelines.prepare import video
from data_pipelines.prepare.encoding import ClipEncoder


class MediaEncoder(ClipEncoder):
    """Reads sound files, and the sound of what only PyAV decodes (see `data_pipelines.prepare.video`)."""

    def prepared_for(self, rows: Iterable[ClipRow]) -> Self:
        """Returns itself, after a look whether what reads these clips is installed.

        Raises:
          AudioSepError: a clip that is there needs PyAV, which is not.
        """
        for row in rows:
            path = self.source / row.file
            if path.suffix.lower() in video.CONTAINER_SUFFIXES and path.exists():
                video.import_av(path)
                break
        return self

    def waveform(self, row: ClipRow) -> np.ndarray:
        """Returns the mono sound of a clip; see the base class."""
        return video.read_sound(self.source / row.file, sample_rate_hz=self.sample_rate_hz)


class DifferenceEncoder(MediaEncoder):
    """Reads the noise of noisy speech: a file below `noisy_…/` stands for itself minus that of `clean_…/`."""

    def waveform(self, row: ClipRow) -> np.ndarray:
        """Returns the mono sound of a clip; see the base class.

        Raises:
          AudioSepError: as the base class; or the two files are not equally long.
        """
        waveform = super().waveform(row)
        other = clean_counterpart(row.file)
        if not other:
            return waveform
        clean = video.read_sound(self.source / other, sample_rate_hz=self.sample_rate_hz)
        if len(clean) != len(waveform):
            raise DatasetError(
                f"{self.source / row.file} has {len(waveform)} samples and {other} has {len(clean)}: "
                "noise is their difference, so give both as they were published."
            )
        return waveform - clean

    def stamp(self, row: ClipRow) -> str:
        """Returns what identifies the state of a clip's files; see the base class."""
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
