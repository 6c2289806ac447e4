"""AudioCaps (C. D. Kim et al., "AudioCaps: Generating Captions for Audios in The Wild", 2019)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from data_pipelines.corpora import youtube
from data_pipelines.corpora.citations import citation
from data_pipelines.corpora.corpus import Corpus
from data_pipelines.corpora.tables import read_csv
from data_pipelines.mixtures.clips import ClipRow

_COLUMNS = ("youtube_id", "start_time", "caption")
SECONDS = 10
"""Length of every clip."""


class AudioCaps(Corpus):
    """AudioCaps: clips of AudioSet that people have described.

    The folder holds `train.csv`, `val.csv` and `test.csv` (audiocap_id, youtube_id, start_time, caption),
    here or in `dataset/`, `csv/` or `metadata/`. Sound files may lie in any folder below it; their names are
    those of `data_pipelines.corpora.youtube.stems`: `ID.wav`, `YID.wav`, `ID_30.flac`, `ID_30_40.wav`, … A
    clip of the training split has one caption. The others have five on a line each, which become one clip.
    """

    name = "audiocaps"
    RELEASE_NOTES = {"1.0.0": "Reads the tables of 2019, and those of AudioCaps 2.0."}  # noqa: RUF012
    HOMEPAGE = "https://audiocaps.github.io/"
    LICENCE = "Captions for academic purposes only; the sound belongs to those who uploaded the videos."
    CITATION = citation("kim2019audiocaps")
    SPLITS = ("train", "val", "test")
    COUNTS = {"train": 49_838, "val": 495, "test": 975}  # noqa: RUF012
    TABLE = "{split}.csv"
    TABLE_FOLDERS = ("dataset", "csv", "metadata")

    needs = "train.csv, val.csv or test.csv, and sound files named by YouTube's identity"

    def read_split(self, split: str, tables: Sequence[Path]) -> Iterator[ClipRow]:
        """Yields one row per caption."""
        table = read_csv(tables[0], required=_COLUMNS, what="the table of AudioCaps")
        for number, line in table.lines:
            video = line["youtube_id"].strip()
            start = table.seconds(number, line["start_time"])
            names = youtube.stems(video, start=start, end=start + SECONDS)
            yield ClipRow(
                file=self.files.first(names) or f"{video}.wav",
                captions=(line["caption"].strip(),),
                source=video,
                split=split,
            )
