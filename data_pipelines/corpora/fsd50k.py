"""FSD50K (E. Fonseca et al., "FSD50K: an open dataset of human-labeled sound events", 2022)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from audiosep_jax.errors import DatasetError
from data_pipelines.corpora import licences
from data_pipelines.corpora.citations import citation
from data_pipelines.corpora.corpus import FreesoundCorpus
from data_pipelines.corpora.label_text import caption_of
from data_pipelines.corpora.tables import find_file, read_csv, read_json
from data_pipelines.mixtures.clips import ClipRow

# The only class of FSD50K whose name in AudioSet contains "and".
_WITH_AND = {"Dishes_and_pots_and_pans": "Dishes, pots, and pans"}


class FSD50K(FreesoundCorpus):
    """FSD50K: sound events of Freesound with 200 classes of AudioSet's ontology.

    The folder holds Zenodo's unpacked archives: `FSD50K.ground_truth/{dev,eval}.csv`, the sound files
    `FSD50K.dev_audio/*.wav` and `FSD50K.eval_audio/*.wav`, and optionally
    `FSD50K.metadata/collection/collection_{dev,eval}.csv` (the annotators' classes, without the parents that
    were added later) and `FSD50K.metadata/{dev,eval}_clips_info_FSD50K.json` (licences).

    `labels` holds all classes with their parents, named as in AudioSet. The caption names the annotators'
    classes, or all classes if that table is absent or has none for a clip.
    """

    name = "fsd50k"
    RELEASE_NOTES = {"1.0.0": "Version 1.0 of the corpus."}  # noqa: RUF012
    HOMEPAGE = "https://zenodo.org/records/4060432"
    LICENCE = (
        "The corpus CC BY 4.0; each sound CC0, CC BY, CC BY-NC or CC Sampling+, as FSD50K.metadata says."
    )
    CITATION = citation("fonseca2022fsd50k")
    SPLITS = ("train", "val", "eval")
    COUNTS = {"train": 36_796, "val": 4_170, "eval": 10_231}  # noqa: RUF012

    needs = "FSD50K.ground_truth/, FSD50K.dev_audio/ and FSD50K.eval_audio/"

    def find_tables(self, split: str) -> Sequence[Path]:
        """Returns the CSV of a split; train and val share dev.csv."""
        found = find_file(self.source / "FSD50K.ground_truth", f"{_part(split)}.csv")
        return [found] if found else []

    def read_split(self, split: str, tables: Sequence[Path]) -> Iterator[ClipRow]:
        """Yields one clip per line of the split."""
        part = _part(split)
        given = self._read_given(part)
        allowed = self._read_allowed(part) if self._licences else None
        required = ("fname", "labels", *(("split",) if part == "dev" else ()))
        for _, line in read_csv(tables[0], required=required, what="FSD50K's ground truth").lines:
            clip = line["fname"].strip()
            if line.get("split", split).strip() != split or (allowed is not None and clip not in allowed):
                continue
            labels = _labels(line["labels"])
            named = given.get(clip) or labels
            yield ClipRow(
                file=self.files.find(clip, folder=f"{part}_audio") or f"FSD50K.{part}_audio/{clip}.wav",
                captions=(caption_of(named),),
                label=named[0],
                labels=labels if len(labels) > 1 else (),
                source=clip,
                split=split,
            )

    def _read_given(self, part: str) -> dict[str, tuple[str, ...]]:
        path = self.source / "FSD50K.metadata" / "collection" / f"collection_{part}.csv"
        if not path.is_file():
            return {}
        table = read_csv(path, required=("fname",), what="FSD50K's collection")
        return {line["fname"].strip(): _labels(line.get("labels", "")) for _, line in table.lines}

    def _read_allowed(self, part: str) -> frozenset[str]:
        path = self.source / "FSD50K.metadata" / f"{part}_clips_info_FSD50K.json"
        what = "the clips_info file of FSD50K, or leave --licences out"
        try:
            return frozenset(
                clip
                for clip, information in read_json(path, what=what).items()
                if licences.kind_of(information["license"]) in self._licences
            )
        except (AttributeError, TypeError, KeyError) as error:
            raise DatasetError(f"{path} lacks the licence of a clip ({error!r}): give {what}.") from error


def _part(split: str) -> str:
    return "eval" if split == "eval" else "dev"


def _labels(text: str) -> tuple[str, ...]:
    """Returns class names as AudioSet writes them: FSD50K writes "_and_" for a comma."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    return tuple(_WITH_AND.get(name, name.replace("_and_", ", ").replace("_", " ")) for name in names)
