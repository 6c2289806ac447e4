"""ESC-50 and ESC-10 (K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", 2015)."""

import re
from collections.abc import Sequence
from pathlib import Path

from audiosep_jax.errors import DatasetError
from data_pipelines.corpora.citations import citation
from data_pipelines.corpora.esc50_captions import captions_of, category_of_folder
from data_pipelines.corpora.tables import read_csv
from data_pipelines.mixtures.clips import ClipRow
from data_pipelines.prepare.builder import ClipBuilder

_COLUMNS = ("filename", "fold", "category", "src_file")
_ESC10_NAME = re.compile(r"(?P<fold>[1-5])-(?P<source>\d+)-\w+(-\d+)?\.(ogg|wav|flac)")


class Esc50(ClipBuilder):
    """ESC-50 or ESC-10 with one split per fold, fold1 to fold5.

    Reads ESC-50 (`meta/esc50.csv` and `audio/*.wav`) or the folders of ESC-10
    (`<class>/<fold>-<freesound id>-<take>.ogg`). The clips of one freesound recording lie in one fold.
    `metadata` is another place of `esc50.csv`.
    """

    RELEASE_NOTES = {"1.0.0": "One split per fold; captions written for this project."}  # noqa: RUF012
    HOMEPAGE = "https://github.com/karolpiczak/ESC-50"
    LICENCE = "ESC-50 CC BY-NC 3.0, its part ESC-10 CC BY 3.0; the captions MIT."
    CITATION = citation("piczak2015esc")

    def __init__(self, *, source: str | Path, metadata: str | Path | None = None, **kwargs):
        self._metadata = metadata
        super().__init__(source=source, **kwargs)

    def read_rows(self) -> Sequence[ClipRow]:
        """Returns the clips of ESC-50 or ESC-10, whichever layout the folder has."""
        table = Path(self._metadata) if self._metadata else self.source / "meta" / "esc50.csv"
        if table.is_file():
            lines = read_csv(table, required=_COLUMNS, what="ESC-50's own table").lines
            return [
                _row(f"audio/{line['filename']}", line["category"], line["fold"], line["src_file"])
                for _, line in lines
            ]
        if self._metadata:
            raise DatasetError(f"{table} does not exist: give ESC-50's esc50.csv.")
        return _read_esc10(self.source)


def _read_esc10(source: Path) -> list[ClipRow]:
    rows = []
    for path in sorted(source.glob("*/*")):
        name = _ESC10_NAME.fullmatch(path.name)
        if name:
            category = category_of_folder(path.parent.name)
            rows.append(_row(path.relative_to(source).as_posix(), category, name["fold"], name["source"]))
    if not rows:
        raise DatasetError(
            f"{source} is neither ESC-50 (meta/esc50.csv and audio/) nor ESC-10 "
            "(<class>/<fold>-<id>-<take>.ogg): give the unpacked dataset's folder."
        )
    return rows


def _row(file: str, category: str, fold: str, source: str) -> ClipRow:
    return ClipRow(
        file=file,
        captions=captions_of(category),
        label=category.replace("_", " "),
        source=source,
        split=f"fold{fold}",
    )
