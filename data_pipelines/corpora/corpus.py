"""The base class of the public corpora: chosen splits, excluded recordings, missing files."""

import abc
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from audiosep_jax.errors import DatasetError, UsageError, listed
from data_pipelines.corpora import licences as known_licences
from data_pipelines.corpora.tables import SOUND_SUFFIXES, FileIndex, find_file, merge, read_json, read_lines
from data_pipelines.mixtures.clips import ClipRow
from data_pipelines.prepare.builder import ClipBuilder
from data_pipelines.prepare.video import CONTAINER_SUFFIXES


class Corpus(ClipBuilder, skip_registration=True):
    """A public corpus, of which most copies lack some recordings.

    A clip without a file is reported as missing and does not count as unusable.

    Args:
      splits: the corpus's names of the splits to prepare; by default all whose tables are there.
      exclude: a file of recordings to leave out, by their identity (of YouTube or Freesound) or file name:
        one a line, or JSON with a list or an object of lists, such as the blacklists of WavCaps.
      **kwargs: see `ClipBuilder`.

    Raises:
      UsageError: a split is unknown.
      DatasetError: a split has no table or no sound, or a table is unusable.
    """

    SPLITS: ClassVar[tuple[str, ...]]
    """The corpus's names of its splits."""

    COUNTS: ClassVar[Mapping[str, int]]
    """Number of published clips per split."""

    TABLE: ClassVar[str] = ""
    """File name of a split's table, with `{split}` where the split's name stands."""

    TABLE_FOLDERS: ClassVar[tuple[str, ...]] = ()
    """Folders of the source that may hold the tables, besides the source itself."""

    needs: ClassVar[str]
    """The files and folders that a source must hold, for an error."""

    def __init__(
        self,
        *,
        source: str | Path,
        splits: Sequence[str] = (),
        exclude: str | Path | None = None,
        **kwargs: Any,
    ):
        unknown = [split for split in splits if split not in self.SPLITS]
        if unknown:
            raise UsageError(
                f"{self.name} has no split {listed(map(repr, unknown))}: choose from "
                f"{', '.join(self.SPLITS)}."
            )
        self._splits = tuple(dict.fromkeys(splits))
        self._exclude = None if exclude is None else Path(exclude)
        first = (type(self).__doc__ or "").split("\n", 1)[0]
        counts = ", ".join(f"{split} {count}" for split, count in self.COUNTS.items())
        self.DESCRIPTION = f"{first} Published clips: {counts}."
        super().__init__(source=source, **{"expects_missing": True, **kwargs})

    def find_tables(self, split: str) -> Sequence[Path]:
        """Returns the tables of a split, none if they are absent."""
        found = find_file(self.source, self.TABLE.format(split=split), *self.TABLE_FOLDERS)
        return [found] if found else []

    @abc.abstractmethod
    def read_split(self, split: str, tables: Sequence[Path]) -> Iterable[ClipRow]:
        """Yields the clips of a split; several rows of one file become one clip.

        A clip without a file gets the path that its file would have.
        """

    @property
    def suffixes(self) -> Sequence[str]:
        """Suffixes of sound files, the preferred ones first."""
        return SOUND_SUFFIXES + CONTAINER_SUFFIXES

    def read_rows(self) -> Sequence[ClipRow]:
        """Returns the clips of all chosen splits; see `read_split`."""
        wanted = self._splits or self.SPLITS
        tables = {split: self.find_tables(split) for split in wanted}
        absent = [split for split in wanted if not tables[split]]
        if absent and (self._splits or len(absent) == len(wanted)):
            raise DatasetError(
                f"{self.source} has no table of {', '.join(absent)}: {self.name} needs {self.needs}."
            )
        self.files = FileIndex(self.source, suffixes=self.suffixes)
        excluded = _read_excluded(self._exclude) if self._exclude else frozenset()
        rows: dict[str, ClipRow] = {}
        for split in wanted:
            found = 0
            for row in self.read_split(split, tables[split]) if tables[split] else ():
                if row.source in excluded:
                    continue
                known = rows.get(row.file)
                rows[row.file] = merge(known, row, f"{tables[split][0]}") if known else row
                found += row.file in self.files
            if tables[split] and not found:
                raise DatasetError(
                    f"{self.source} holds no sound of the split {split!r} that {tables[split][0]} describes"
                    + (" and --exclude leaves" if excluded else "")
                    + f": put its files there, or name the other splits with --splits. {self.name} needs "
                    f"{self.needs}."
                )
        return list(rows.values())


class FreesoundCorpus(Corpus, skip_registration=True):
    """A corpus of clips from Freesound, each with a licence of its own.

    Args:
      licences: only clips under these: "cc0", "by", "by-nc" or "sampling+".
      **kwargs: see `Corpus` and `ClipBuilder`.
    """

    def __init__(self, *, source: str | Path, licences: Sequence[str] = (), **kwargs: Any):
        self._licences = known_licences.check(licences)
        super().__init__(source=source, **kwargs)


def _read_excluded(path: Path) -> frozenset[str]:
    what = "names of recordings, one a line, or as JSON"
    if path.suffix.lower() == ".json":
        content = read_json(path, what=what)
        lists = list(content.values()) if isinstance(content, dict) else [content]
        if not all(isinstance(names, list) for names in lists):
            raise DatasetError(f"{path} is neither a list nor an object of lists: give {what}.")
        names = [str(name) for part in lists for name in part]
    else:
        names = read_lines(path, what=what)
    return frozenset(identity for name in names if name for identity in _identities(name))


def _identities(name: str) -> set[str]:
    stem = name.rsplit(".", 1)[0] if name.lower().endswith((".wav", ".flac", ".mp3")) else name
    return {name, stem, stem[1:] if len(stem) == 12 and stem[0] == "Y" else stem}
