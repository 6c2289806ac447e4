"""Any folder of sound files with a table of captions."""

import difflib
import hashlib
import posixpath
from collections.abc import Sequence
from pathlib import Path

from audiosep_jax.errors import DatasetError, UsageError, listed
from data_pipelines.corpora.tables import merge, read_csv, read_json
from data_pipelines.mixtures.clips import ClipRow
from data_pipelines.prepare.builder import ClipBuilder

DEFAULT_NAMES = ("clips.csv", "metadata.csv", "clips.json", "metadata.json")

_FIELDS = ("file", "wav", "caption", "captions", "label", "split", "frames")
_CAPTIONS = ("captions", "caption")
_SEPARATORS = {"captions": "|", "caption": "|", "frames": ";"}  # of fields that hold several texts


class AudioFolder(ClipBuilder):
    """A folder of sound files and a CSV or JSON file that says what they hold.

    The CSV has the columns `file` and `captions` (several separated by `|`; `caption` is accepted too)
    and optionally `label`, `split`, `source` and `frames`: images of the clip's video, paths or patterns such
    as `frames/a/*.jpg` or `a.mp4#frames=8` separated by `;`. The JSON has the format of the PyTorch AudioSep:
    `{"data": [{"wav": "a.wav", "caption": "a dog barking"}]}`; its captions and frames may be lists. Paths
    are relative to the folder. Several lines of one file, however its path is spelled, are one clip with the
    captions and frames of all of them.

    A line without a caption is an error, unless it has frames or the table has no captions at all. Then the
    clip is stored without a caption, for training that takes conditions from frames or sound.

    Args:
      metadata: the CSV or JSON file; by default the first of clips.csv, metadata.csv, clips.json and
        metadata.json that the folder holds.
      source_column: the field that identifies the original recording; its clips share a split.
      validation_share: share of recordings in the split "validation" if the table has no `split`. A hash of
        the recording's identity decides, so every build has the same splits.
      **kwargs: see `ClipBuilder`.

    Raises:
      UsageError: the validation share is out of range.
      DatasetError: the table is unusable.
    """

    def __init__(
        self,
        *,
        source: str | Path,
        metadata: str | Path | None = None,
        source_column: str = "source",
        validation_share: float = 0.0,
        **kwargs,
    ):
        if not 0 <= validation_share < 1:
            raise UsageError(f"The validation share is {validation_share}: give a number in [0, 1).")
        self._metadata = metadata
        self._source_column = source_column
        self._validation_share = validation_share
        super().__init__(source=source, **kwargs)

    def read_rows(self) -> Sequence[ClipRow]:
        """Reads the table; see the class."""
        path = _find_metadata(self.source, self._metadata)
        lines, fields = _read_table(path)
        captioned = any(name in fields for name in _CAPTIONS)
        if not captioned:
            _check_caption_column(fields, path)
        rows: dict[str, ClipRow] = {}
        for where, line in lines:
            row = self._parse(line, where, captioned=captioned)
            known = rows.get(row.file)
            rows[row.file] = merge(known, row, where, one_label=True) if known else row
        return list(rows.values())

    def _parse(self, line: dict[str, str], where: str, *, captioned: bool) -> ClipRow:
        # `0.wav` and `./0.wav` are one file, and one recording if the file is the source column.
        line = {key: posixpath.normpath(v) if key in ("file", "wav") and v else v for key, v in line.items()}
        file = line.get("file") or line.get("wav") or ""
        text = line.get("captions") or line.get("caption") or ""
        captions = tuple(dict.fromkeys(part.strip() for part in text.split("|") if part.strip()))
        frames = tuple(dict.fromkeys(part.strip() for part in line.get("frames", "").split(";")))
        frames = tuple(part for part in frames if part)
        if not file or not (captions or frames or not captioned):
            missing = "file" if not file else "caption"
            raise DatasetError(f"{where} has no {missing}: add it or remove the line.")
        if self._source_column != "source" and self._source_column not in line:
            raise DatasetError(
                f"{where} has no field {self._source_column!r}, which --source-column names; it has "
                f"{listed(line)}."
            )
        source = line.get(self._source_column) or file
        split = line.get("split") or self._split_of(source)
        return ClipRow(
            file=file,
            captions=captions,
            label=line.get("label", ""),
            source=source,
            split=split,
            frames=frames,
        )

    def _split_of(self, source: str) -> str:
        digest = hashlib.sha256(source.encode(errors="surrogatepass")).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        return "validation" if share < self._validation_share else "train"


def _check_caption_column(fields: set[str], path: Path) -> None:
    """Raises if a table seems to have no captions only because their column is misspelt."""
    for field in sorted(fields):
        if difflib.get_close_matches(field.lower(), (*_CAPTIONS, "text", "description"), cutoff=0.7):
            raise DatasetError(
                f"{path} has a column {field!r} and none named captions: rename it to captions, or to "
                "another name if it holds no captions."
            )


def _find_metadata(source: Path, metadata: str | Path | None) -> Path:
    if metadata is not None:
        return Path(metadata)
    for name in DEFAULT_NAMES:
        if (source / name).is_file():
            return source / name
    raise DatasetError(f"{source} holds none of {', '.join(DEFAULT_NAMES)}: give its table with --metadata.")


def _read_table(path: Path) -> tuple[list[tuple[str, dict[str, str]]], set[str]]:
    """Returns the lines of a table, each with its place for errors, and all fields of the table."""
    what = 'a CSV with a header, or JSON with {"data": [...]}'
    if path.suffix.lower() != ".json":
        table = read_csv(path, what=what)
        if "file" not in table.columns:
            raise DatasetError(
                f"{path} needs the columns file and captions (the latter unless no clip has captions), but "
                f"has {listed(table.columns) or 'none'}."
            )
        lines = [
            (table.where(number), {key: value for key, value in line.items() if key and value})
            for number, line in table.lines
        ]
        return lines, set(table.columns)
    content = read_json(path, what=what)
    entries = content.get("data") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DatasetError(f"{path} is not a readable table: give {what}.")
    places = (f"{path}, entry {number}" for number in range(len(entries)))
    lines = [(place, _json_fields(entry, place)) for place, entry in zip(places, entries, strict=True)]
    return lines, {field for entry in entries for field in entry}


def _json_fields(line: dict[str, object], where: str) -> dict[str, str]:
    fields = {}
    for key, value in line.items():
        if key in _SEPARATORS and isinstance(value, list):
            if not all(isinstance(part, str) for part in value):
                raise DatasetError(f"{where}: the list {key!r} may hold only texts: remove the rest.")
            fields[key] = _SEPARATORS[key].join(value)
        elif isinstance(value, list | dict) and key in _FIELDS:
            raise DatasetError(f"{where}: {key!r} is a {type(value).__name__}: give a text.")
        elif value is not None:
            fields[key] = str(value)
    return fields
