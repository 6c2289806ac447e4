"""WavCaps (X. Mei et al., "WavCaps: A ChatGPT-Assisted Weakly-Labelled Audio Captioning Dataset", 2023)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from audiosep_jax.errors import DatasetError
from data_pipelines.corpora.citations import citation
from data_pipelines.corpora.corpus import Corpus
from data_pipelines.corpora.tables import find_file, read_json
from data_pipelines.mixtures.clips import ClipRow

_TABLES = {
    "AudioSet_SL": "as_final.json",
    "BBC_Sound_Effects": "bbc_final.json",
    "FreeSound": "fsd_final.json",
    "SoundBible": "sb_final.json",
}


class WavCaps(Corpus):
    """WavCaps: sounds of four collections, with captions that a language model made of their descriptions.

    The folder holds the corpus's `json_files/` (`AudioSet_SL/as_final.json`,
    `BBC_Sound_Effects/bbc_final.json`, `FreeSound/fsd_final.json`, `SoundBible/sb_final.json`; those of the
    chosen collections). The sound files `ID.flac` lie below folders whose names contain that of their
    collection, such as `FreeSound_flac/`, because FreeSound and SoundBible both count from 1. Each
    collection is a split.

    The corpus overlaps with AudioCaps and Clotho, UrbanSound8K, ESC-50 and VGGSound: pass its own
    `json_files/blacklist/*.json` as `exclude` before you evaluate on those.
    """

    name = "wavcaps"
    RELEASE_NOTES = {"1.0.0": "The tables of 2023, one split per collection."}  # noqa: RUF012
    HOMEPAGE = "https://huggingface.co/datasets/cvssp/WavCaps"
    LICENCE = "For academic uses only; the sounds under the terms of FreeSound, BBC, SoundBible and YouTube."
    CITATION = citation("mei2023wavcaps")
    SPLITS = tuple(_TABLES)
    COUNTS = {  # noqa: RUF012
        "AudioSet_SL": 108_317,
        "BBC_Sound_Effects": 31_201,
        "FreeSound": 262_300,
        "SoundBible": 1_232,
    }

    needs = "json_files/COLLECTION/*_final.json, and the sound files in folders named after their collection"

    def find_tables(self, split: str) -> Sequence[Path]:
        """Returns the JSON of a collection."""
        folders = [f"{parent}json_files/{split}" for parent in ("", "data/")]
        found = find_file(self.source, _TABLES[split], *folders, "json_files", split)
        return [found] if found else []

    def read_split(self, split: str, tables: Sequence[Path]) -> Iterator[ClipRow]:
        """Yields one clip per entry."""
        what = 'a table of WavCaps, {"num_captions_per_audio": 1, "data": [...]}'
        content = read_json(tables[0], what=what)
        entries = content.get("data") if isinstance(content, dict) else content
        if not isinstance(entries, list):
            raise DatasetError(f"{tables[0]} has no list of clips: give {what}.")
        for number, entry in enumerate(entries):
            identity, caption = (_text(entry, key) for key in ("id", "caption"))
            if not identity or not caption:
                missing = "caption" if identity else "id"
                raise DatasetError(f"{tables[0]}, entry {number} has no {missing}: give {what}.")
            stem = identity.removesuffix(".wav")
            yield ClipRow(
                file=self.files.find(stem, folder=split) or f"{split}/{stem.replace('/', '_')}.flac",
                captions=(caption,),
                source=_recording(split, stem),
                split=split,
            )


def _text(entry: object, key: str) -> str:
    value = entry.get(key) if isinstance(entry, dict) else None
    return str(value).strip() if isinstance(value, str | int) else ""


def _recording(collection: str, stem: str) -> str:
    """Returns the recording's identity, the same as in other corpora that contain the recording."""
    if collection == "AudioSet_SL":  # PANNs write a Y before YouTube's eleven characters
        return stem[1:] if len(stem) == 12 and stem[0] == "Y" else stem
    return stem if collection == "FreeSound" else f"{collection}/{stem}"
