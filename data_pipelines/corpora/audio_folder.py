"""Any folder of sound files with a table of captions."""

import dataclasses
import difflib
import hashlib
import json
import posixpath
from collections.abc import Sequence
from pathlib import Path

from audiosep_jax.errors import DatasetError
from data_pipelines.corpora.tables import merge, read_csv
from data_pipelines.mixtures.clips import ClipRow
from data_pipelines.prepare.builder import ClipBuilder
from data_pipelines.prepare.media_encoding import MediaEncoder

DEFAULT_NAMES = ("clips.csv", "metadata.csv", "clips.json", "metadata.json")


_CAPTIONS = ("captions", "caption")

# Fields that hold several texts, and what stands between them.
_SEPARATORS = {"captions": "|", "caption": "|", "frames": ";"}


class AudioFolder(ClipBuilder):
    """A folder of sound files and a CSV or JSON file that says what they hold.

    The CSV has the columns `file` and `captions` (several separated by `|`; `caption` is accepted too)
    and optionally `label`, `split`, `source` and `frames`: images of the clip's video, paths or patterns such
    as `frames/a/*.jpg` or `a.mp4#frames=8` separated by `;`. The JSON is the one of the PyTorch AudioSep:
    `{"data": [{"wav": "a.wav", "caption": "a dog barking"}]}`. A file that several lines name gets the
    captions and the frames of them all, however its path is spelled. JSON captions and frames may be lists.
    Paths are relative to the folder.

    A line without a caption is a mistake, unless it names frames or the table has no captions at all: then
    the clip is stored without one, for training that takes conditions from frames or sound.

    Args:
      metadata: the CSV or JSON file; by default the first of clips.csv, metadata.csv, clips.json and
        metadata.json that the folder holds.
      source_column: the field that identifies the original recording; its clips share a split.
      validation_share: share of recordings that go to the split "validation" when the table has no
        `split`. The choice is a hash of the recording's identity, so it is the same for every build.
      **kwargs: see `ClipBuilder`.
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
            raise DatasetError(f"The validation share is {validation_share}: give a number in [0, 1).")
        self._metadata = metadata
        self._source_column = source_column
        self._validation_share = validation_share
        super().__init__(source=source, **kwargs)

    def encoder(self) -> MediaEncoder:
        """Returns what reads sound files and videos."""
        return MediaEncoder(self.source, self.sample_rate_hz).prepared_for(self.rows)

    def read_rows(self) -> Sequence[ClipRow]:
        """Reads the table; see the class."""
        path = _find_metadata(self.source, self._metadata)
        rows: dict[str, ClipRow] = {}
        table = _read_table(path)
        captioned = any(name in table.fields for name in _CAPTIONS)
        if not captioned:
            _check_no_caption_is_lost(table.fields, path)
        for where, line in table.lines:
            row = self._parse(line, where, captioned=captioned)
            known = rows.get(row.file)
            if known is not None:
                row = _merge(known, row, where)
            rows[row.file] = row
        return list(rows.values())

    def _parse(self, line: dict[str, str], where: str, *, captioned: bool) -> ClipRow:
        # One file has one identity, also where it is the source column: `0.wav` and `./0.wav` are the same.
        line = {key: posixpath.normpath(v) if key in ("file", "wav") and v else v for key, v in line.items()}
        file = line.get("file") or line.get("wav") or ""
        text = line.get("captions") or line.get("caption") or ""
        captions = tuple(dict.fromkeys(part.strip() for part in text.split("|") if part.strip()))
        frames = tuple(dict.fromkeys(part.strip() for part in line.get("frames", "").split(";")))
        frames = tuple(part for part in frames if part)
        if not file or not (captions or frames or not captioned):
            missing = "file" if not file else "caption"
            raise DatasetError(f"{where} names no {missing}: fill it in or remove the line.")
        if self._source_column != "source" and self._source_column not in line:
            raise DatasetError(
                f"{where} has no field {self._source_column!r} (the chosen source column); it has "
                f"{', '.join(line)}."
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


def _check_no_caption_is_lost(fields: set[str], path: Path) -> None:
    """A table may do without captions, but not because their column is misspelt."""
    for field in sorted(fields):
        if difflib.get_close_matches(field.lower(), (*_CAPTIONS, "text", "description"), cutoff=0.7):
            raise DatasetError(
                f"{path} has a column {field!r} and none named captions: rename it to captions, or, if its "
                "texts are not to be used, to something else."
            )


def _find_metadata(source: Path, metadata: str | Path | None) -> Path:
    if metadata is not None:
        return Path(metadata)
    for name in DEFAULT_NAMES:
        if (source / name).is_file():
            return source / name
    raise DatasetError(f"{source} holds none of {', '.join(DEFAULT_NAMES)}: name its table with --metadata.")


@dataclasses.dataclass(frozen=True)
class _Table:
    """The lines of a table, each with its place, and every field that one of them may have."""

    lines: list[tuple[str, dict[str, str]]]
    fields: set[str]


def _read_table(path: Path) -> _Table:
    try:
        if path.suffix.lower() == ".json":
            lines = json.loads(path.read_text("utf-8"))["data"]
            places = [f"{path}, entry {number}" for number in range(len(lines))]
            header = {field for line in lines for field in line}
            lines = [_json_fields(line, place) for place, line in zip(places, lines, strict=True)]
        else:
            table = read_csv(path, what='a CSV with a header, or JSON with {"data": [...]}')
            lines, places = [], []
            for number, line in table.lines:
                lines.append({key: value for key, value in line.items() if key and value})
                places.append(table.where(number))
            header = list(table.columns)
            if "file" not in header:
                raise DatasetError(
                    f"{path} needs the columns file and captions (the latter unless no clip is described), "
                    f"but has {', '.join(header) or 'none'}."
                )
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist: give the CSV or JSON table of the clips.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f'{path} is not a readable table: a CSV with a header or {{"data": [...]}} is needed ({error!r}).'
        ) from error
    return _Table(list(zip(places, lines, strict=True)), set(header))


def _json_fields(line: dict[str, object], where: str) -> dict[str, str]:
    fields = {}
    for key, value in line.items():
        if key in _SEPARATORS and isinstance(value, list):
            if not all(isinstance(part, str) for part in value):
                raise DatasetError(f"{where}: the list {key!r} holds more than texts: give texts alone.")
            fields[key] = _SEPARATORS[key].join(value)
        elif isinstance(value, list | dict) and key in (
            "file",
            "wav",
            "caption",
            "captions",
            "label",
            "split",
            "frames",
        ):
            raise DatasetError(f"{where}: {key!r} is a {type(value).__name__}: give a text.")
        elif value is not None:
            fields[key] = str(value)
    return fields


def _merge(known: ClipRow, row: ClipRow, where: str) -> ClipRow:
    if known.label != row.label:
        raise DatasetError(
            f"{where} names {row.file} again with another label, source or split: make the lines agree."
        )
    return merge(known, row, where)
