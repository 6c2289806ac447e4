"""AudioSet (J. F. Gemmeke et al., "Audio Set: An ontology and human-labeled dataset", 2017)."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from audiosep_jax.errors import DatasetError
from data_pipelines.corpora import youtube
from data_pipelines.corpora.citations import citation
from data_pipelines.corpora.corpus import Corpus
from data_pipelines.corpora.label_text import caption_of
from data_pipelines.corpora.tables import find_file, read_csv, read_json
from data_pipelines.mixtures.clips import ClipRow

_COLUMNS = ("YTID", "start_seconds", "end_seconds", "positive_labels")


class AudioSet(Corpus):
    """AudioSet: ten seconds of YouTube each, with one or more of 527 classes.

    The folder holds `unbalanced_train_segments.csv`, `balanced_train_segments.csv` or `eval_segments.csv`
    (those of the chosen splits) and `class_labels_indices.csv` or `ontology.json`, here or in `metadata/`,
    `csv/` or `segments/`. Sound files may lie in any folder below it; their names are those of
    `data_pipelines.corpora.youtube.stems`: `ID.wav`, `YID.wav`, `ID_30.000_40.000.flac`,
    `ID_30000_40000.m4a`, …

    The caption of a clip names all of its classes, because the whole clip is the target. `labels` holds their
    names as the ontology writes them.
    """

    name = "audioset"
    RELEASE_NOTES = {"1.0.0": "Segments of 2017; one caption that names all classes."}  # noqa: RUF012
    HOMEPAGE = "https://research.google.com/audioset/"
    LICENCE = (
        "Segments and labels CC BY 4.0 (Google), ontology CC BY-SA 4.0; the sound belongs to those who "
        "uploaded the videos."
    )
    CITATION = citation("gemmeke2017audioset")
    SPLITS = ("unbalanced_train", "balanced_train", "eval")
    COUNTS = {"unbalanced_train": 2_042_985, "balanced_train": 22_176, "eval": 20_383}  # noqa: RUF012
    TABLE = "{split}_segments.csv"
    TABLE_FOLDERS = ("metadata", "csv", "segments")

    needs = (
        "unbalanced_train_segments.csv, balanced_train_segments.csv or eval_segments.csv, "
        "class_labels_indices.csv, and sound files named by YouTube's identity"
    )

    def read_split(self, split: str, tables: Sequence[Path]) -> Iterator[ClipRow]:
        """Yields one clip per segment."""
        names = self._names
        table = read_csv(
            tables[0],
            columns=_COLUMNS,
            required=_COLUMNS,
            comment="#",
            spaced=True,
            what="AudioSet's segments",
        )
        for number, line in table.lines:
            video = line["YTID"]
            start, end = (table.seconds(number, line[name]) for name in ("start_seconds", "end_seconds"))
            try:
                labels = tuple(dict.fromkeys(names[mid] for mid in line["positive_labels"].split(",")))
            except KeyError as error:
                raise DatasetError(
                    f"{table.where(number)} has the class {error.args[0]!r}, which neither "
                    "class_labels_indices.csv nor ontology.json names: give the files of the same release."
                ) from None
            yield ClipRow(
                file=self.files.first(youtube.stems(video, start=start, end=end)) or f"{video}.wav",
                captions=(caption_of(labels),),
                label=labels[0],
                labels=labels if len(labels) > 1 else (),
                source=video,
                split=split,
            )

    @functools.cached_property
    def _names(self) -> dict[str, str]:
        """The class names by identity, such as "/m/09x0r"."""
        names = {}
        ontology = find_file(self.source, "ontology.json", "ontology", *self.TABLE_FOLDERS)
        if ontology:
            try:
                names = {
                    str(entry["id"]): str(entry["name"]) for entry in read_json(ontology, what="the ontology")
                }
            except (TypeError, KeyError) as error:
                raise DatasetError(
                    f"{ontology} is not AudioSet's ontology, a list of objects with id and name ({error!r})."
                ) from error
        table = find_file(self.source, "class_labels_indices.csv", *self.TABLE_FOLDERS)
        if table:
            columns = ("mid", "display_name")
            lines = read_csv(table, required=columns, what="AudioSet's class_labels_indices.csv").lines
            names |= {line["mid"]: line["display_name"] for _, line in lines}
        if not names:
            raise DatasetError(
                f"{self.source} holds neither class_labels_indices.csv nor ontology.json, which name "
                "AudioSet's classes: put one of them there."
            )
        return names
