"""VGGSound (H. Chen et al., "VGGSound: A Large-scale Audio-Visual Dataset", 2020)."""

import collections
from collections.abc import Iterator, Sequence
from pathlib import Path

from audiosep_jax.errors import DatasetError
from data_pipelines.corpora import youtube
from data_pipelines.corpora.citations import citation
from data_pipelines.corpora.corpus import Corpus
from data_pipelines.corpora.label_text import caption_of
from data_pipelines.corpora.tables import read_csv
from data_pipelines.mixtures.clips import ClipRow

_COLUMNS = ("youtube_id", "start", "label", "split")
SECONDS = 10
"""Length of every clip."""


class VGGSound(Corpus):
    """VGGSound: ten seconds of YouTube each, in which the sound of one of 309 classes is also seen.

    The folder holds `vggsound.csv` (no header: YouTube identity, start in seconds, label, `train` or `test`),
    here or in `data/`, `metadata/` or `csv/`. Sound or video files may lie in any folder below it; their
    names are those of `data_pipelines.corpora.youtube.stems`: `ID_000030.mp4`, `ID_30.wav`, `ID_30_40.flac`,
    … A name without a time is accepted if the table has only one clip of the video. The caption is the label.
    """

    name = "vggsound"
    RELEASE_NOTES = {"1.0.0": "The table of 2020."}  # noqa: RUF012
    HOMEPAGE = "https://www.robots.ox.ac.uk/~vgg/data/vggsound/"
    LICENCE = "Table CC BY 4.0; the sound belongs to those who uploaded the videos."
    CITATION = citation("chen2020vggsound")
    SPLITS = ("train", "test")
    COUNTS = {"train": 183_730, "test": 15_446}  # noqa: RUF012
    TABLE = "vggsound.csv"
    TABLE_FOLDERS = ("data", "metadata", "csv")

    needs = "vggsound.csv, and sound or video files named by YouTube's identity and the start in seconds"

    def read_split(self, split: str, tables: Sequence[Path]) -> Iterator[ClipRow]:
        """Yields one clip per line of the split."""
        lines = list(self._read(tables[0]))
        clips = {(video, start) for video, start, _, _ in lines}
        times = collections.Counter(video for video, _ in clips)
        for video, start, label, its_split in lines:
            if its_split == split:
                names = youtube.stems(video, start=start, end=start + SECONDS, timeless=times[video] == 1)
                yield ClipRow(
                    file=self.files.first(names) or f"{video}_{start:06.0f}.wav",
                    captions=(caption_of((label,)),),
                    label=label,
                    source=video,
                    split=split,
                )

    def _read(self, path: Path) -> Iterator[tuple[str, float, str, str]]:
        table = read_csv(path, columns=_COLUMNS, required=_COLUMNS, what="VGGSound's vggsound.csv")
        for number, line in table.lines:
            split = line["split"].strip()
            start = table.seconds(number, line["start"])
            if split not in self.SPLITS:
                raise DatasetError(
                    f"{table.where(number)} has the split {split!r}, which is neither train nor test: give "
                    f"{table.what}."
                )
            yield line["youtube_id"], start, line["label"].strip(), split
