"""The builder that the public corpora share: their own splits, and recordings that are gone."""

import abc
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from audiosep_jax.errors import DatasetError
from data_pipelines.corpora import licences as known_licences
from data_pipelines.corpora.tables import SOUND_SUFFIXES, FileIndex, merge, read_json
from data_pipelines.mixtures.clips import ClipRow
from data_pipelines.prepare.builder import ClipBuilder
from data_pipelines.prepare.media_encoding import MediaEncoder
from data_pipelines.prepare.video import CONTAINER_SUFFIXES


class Corpus(ClipBuilder, skip_registration=True):
    """A public corpus, whose tables name more clips than most people have.

    A clip that a table names and whose file is absent is reported as missing, apart from the unusable ones.

    Args:
      splits: those to prepare, as the corpus calls them; by default all whose tables are there.
      exclude: a file that names recordings to leave out, by their identity (of YouTube or Freesound) or
        their file's name: one a line, or JSON, a list or an object of lists as the blacklists of WavCaps.
      **kwargs: see `ClipBuilder`.
    """

    SPLITS: ClassVar[tuple[str, ...]]
    """As the corpus calls them."""

    COUNTS: ClassVar[Mapping[str, int]]
    """Clips that were published, per split."""

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
            raise DatasetError(
                f"{self.name} has no split {', '.join(map(repr, unknown))}: choose of "
                f"{', '.join(self.SPLITS)}."
            )
        self._splits = tuple(dict.fromkeys(splits))
        self._exclude = None if exclude is None else Path(exclude)
        first = (type(self).__doc__ or "").split("\n", 1)[0]
        counts = ", ".join(f"{split} {count}" for split, count in self.COUNTS.items())
        self.DESCRIPTION = f"{first} Published clips: {counts}."
        super().__init__(source=source, **{"expects_missing": True, **kwargs})

    @abc.abstractmethod
    def find_tables(self, split: str) -> Sequence[Path]:
        """Returns what says which clips a split has; nothing where it is not there."""

    @abc.abstractmethod
    def read_split(self, split: str, tables: Sequence[Path]) -> Iterable[ClipRow]:
        """Yields the clips of a split; several rows of one file become one clip.

        A clip that nobody has is given the name that it would have.
        """

    def encoder(self) -> MediaEncoder:
        """Returns what reads sound files and videos."""
        return MediaEncoder(self.source, self.sample_rate_hz).prepared_for(self.rows)

    @property
    def suffixes(self) -> Sequence[str]:
        """Of the files that hold sound, those to prefer first."""
        return SOUND_SUFFIXES + CONTAINER_SUFFIXES

    def read_rows(self) -> Sequence[ClipRow]:
        """Lists the clips of all wanted splits; see `read_split`."""
        wanted = self._splits or self.SPLITS
        tables = {split: self.find_tables(split) for split in wanted}
        absent = [split for split in wanted if not tables[split]]
        if absent and (self._splits or len(absent) == len(wanted)):
            raise DatasetError(
                f"{self.source} says nothing of {', '.join(absent)}: {self.name} needs {self.needs}."
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
    """A corpus of Freesound's clips, each of which has a licence of its own.

    Args:
      licences: only clips under these, of "cc0", "by", "by-nc" and "sampling+".
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
            raise DatasetError(f"{path} is no list, and no object of lists: give {what}.")
        names = [str(name) for part in lists for name in part]
    else:
        try:
            names = [line.strip() for line in path.read_text("utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{path} cannot be read ({error}): give {what}.") from error
    return frozenset(identity for name in names if name for identity in _identities(name))


def _identities(name: str) -> set[str]:
    stem = name.rsplit(".", 1)[0] if name.lower().endswith((".wav", ".flac", ".mp3")) else name
    return {name, stem, stem[1:] if len(stem) == 12 and stem[0] == "Y" else stem}
