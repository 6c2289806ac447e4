"""Clotho v2 (K. Drossos et al., "Clotho: an Audio Captioning Dataset", 2020)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from data_pipelines.corpora import licences
from data_pipelines.corpora.citations import citation
from data_pipelines.corpora.corpus import FreesoundCorpus
from data_pipelines.corpora.tables import encoding_of, find_file, read_csv
from data_pipelines.mixtures.clips import ClipRow

_FOLDERS = ("csv", "metadata", "captions")
_CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))


class Clotho(FreesoundCorpus):
    """Clotho v2: fifteen to thirty seconds of Freesound each, with five captions.

    The folder holds, per split, `clotho_captions_SPLIT.csv` (file_name, caption_1 … caption_5) and, if they
    are there, `clotho_metadata_SPLIT.csv` (file_name, keywords, sound_id, …; not UTF-8), here or in `csv/`,
    `metadata/` or `captions/`. The sound files lie below a folder whose name contains `SPLIT`, such as
    `development/` or `clotho_audio_development/`. Without metadata each file is a recording of its own, and
    `licences` cannot be used.
    """

    name = "clotho"
    RELEASE_NOTES = {"1.0.0": "Reads version 2 and 2.1 of the corpus."}  # noqa: RUF012
    HOMEPAGE = "https://zenodo.org/records/4783391"
    LICENCE = (
        "Captions under the Tampere University licence (non-commercial, with attribution); each sound under "
        "the Creative Commons licence that its line of the metadata names."
    )
    CITATION = citation("drossos2020clotho")
    SPLITS = ("development", "validation", "evaluation")
    COUNTS = {"development": 3_839, "validation": 1_045, "evaluation": 1_045}  # noqa: RUF012

    needs = "clotho_captions_SPLIT.csv, and the sound files in folders named after the splits"

    def find_tables(self, split: str) -> Sequence[Path]:
        """Returns the CSV of a split's captions and, if it is there, that of its metadata."""
        names = (f"clotho_captions_{split}.csv", f"clotho_metadata_{split}.csv")
        captions, metadata = (find_file(self.source, name, *_FOLDERS) for name in names)
        return [path for path in (captions, metadata) if path] if captions else []

    def read_split(self, split: str, tables: Sequence[Path]) -> Iterator[ClipRow]:
        """Yields one clip per line."""
        metadata = _read_metadata(tables[1]) if len(tables) > 1 else {}
        table = read_csv(
            tables[0],
            required=("file_name", _CAPTIONS[0]),
            encoding=encoding_of(tables[0]),
            what="the captions of Clotho",
        )
        for _, line in table.lines:
            file = line["file_name"]
            sound, licence = metadata.get(file, ("", ""))
            if self._licences and licences.kind_of(licence) not in self._licences:
                continue
            stem = file.removesuffix(".wav")
            yield ClipRow(
                file=self.files.find(stem, folder=split) or f"{split}/{file}",
                captions=tuple(
                    dict.fromkeys(text for name in _CAPTIONS if (text := line.get(name, "").strip()))
                ),
                source=sound if sound.isdigit() else file,
                split=split,
            )


def _read_metadata(path: Path) -> dict[str, tuple[str, str]]:
    """Returns Freesound's number ("" if unknown) and the licence of each file."""
    table = read_csv(path, required=("file_name",), encoding=encoding_of(path), what="the metadata of Clotho")
    return {
        line["file_name"]: (line.get("sound_id", "").strip(), line.get("license", ""))
        for _, line in table.lines
    }
