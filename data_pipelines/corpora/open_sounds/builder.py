"""The builder of the corpus `open_sounds`."""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from audiosep_jax.errors import DatasetError
from audiosep_jax.utils.atomic import make_folder, replacing
from data_pipelines.corpora.open_sounds import attribution, extraction, packages, table
from data_pipelines.mixtures.clip_index import OVERLAPS
from data_pipelines.mixtures.clips import ClipRow
from data_pipelines.prepare.builder import ClipBuilder
from data_pipelines.prepare.encoding import MediaEncoder


class OpenSounds(ClipBuilder):
    """Open sounds: clips cut from the sounds of Debian packages, and instruments rendered from soundfonts.

    The tables of this package name for each clip its package, file, start, length, label, captions, licence
    and split. `source` is a folder of `.deb` files. The clips are made before anything else, in `clips` or
    in the unfinished build, and are the same in every build.

    Args:
      source: folder of the packages.
      download: get missing packages with apt-get.
      clips: folder for the clips as FLAC files, named as in the table; none are left by default.
      licences: only clips under these licences or families of licences.
      **kwargs: see `ClipBuilder`.

    Raises:
      UsageError: a licence is unknown, or `download` needs apt-get.
      DatasetError: a package is missing or damaged, or too many clips cannot be made.
      MissingPackageError: tinysoundfont, or another library that a package needs, is not installed.
    """

    name = "open_sounds"
    RELEASE_NOTES = {"1.0.0": "Packages of Debian 12."}  # noqa: RUF012
    LICENCE = (
        f"Each clip under a free licence of its own (Creative Commons, GPL, MIT or public domain); "
        f"{attribution.FILE_NAME} names it, with the package that states it."
    )

    def __init__(
        self,
        *,
        source: str | Path,
        download: bool = False,
        clips: str | Path | None = None,
        licences: Sequence[str] = (),
        **kwargs: Any,
    ):
        self._download = download
        self._clips = Path(clips) if clips else Path(kwargs.get("data_dir") or source) / "clips"
        self._keeps_clips = bool(clips)
        self._entries = table.chosen(licences)
        self._failures: extraction.Failures = {}
        if download:
            make_folder(source)
        super().__init__(source=source, **kwargs)

    def read_rows(self) -> Sequence[ClipRow]:
        """Makes the clips and returns their rows."""
        extraction.check_libraries(self._entries)
        names = {entry.package for entry in self._entries}
        if self._download:
            packages.download(self.source, names)
        self._packages = packages.find(self.source, names)
        make_folder(self._clips)
        self._failures = extraction.extract(self._packages, self._entries, self._clips, on_clip=self.on_clip)
        extraction.check_failures(self._failures, len(self._entries), most=self.max_failed_share)
        if self._keeps_clips:
            self._write_beside_clips()
        return [_row(entry) for entry in self._entries]

    def encoder(self) -> MediaEncoder:
        """Returns a reader of the clips that were made."""
        return _ClipReader(self._clips, self.sample_rate_hz, tuple(sorted(self._failures.items())))

    def write_files(self, folder: Path) -> None:
        """Writes the attribution, and the labels that overlap."""
        (folder / attribution.FILE_NAME).write_text(self._attribution(), "utf-8")
        used = {entry.label for entry in self._entries}
        overlaps = {
            name: [other for other in label.also if other in used]
            for name, label in table.labels().items()
            if name in used
        }
        (folder / OVERLAPS).write_text(json.dumps(overlaps, indent=1) + "\n", "utf-8")

    def _made(self) -> list[table.ClipEntry]:
        return [entry for entry in self._entries if entry.clip not in self._failures]

    def _attribution(self) -> str:
        return attribution.text(self._made(), self._packages)

    def _write_beside_clips(self) -> None:
        with replacing(self._clips / attribution.FILE_NAME) as temporary:
            temporary.write_text(self._attribution(), "utf-8")
        table_file = io.StringIO(newline="")
        writer = csv.writer(table_file, lineterminator="\n")
        writer.writerow(("file", "label", "captions", "seconds", "split", "source", "licence"))
        for entry in self._made():
            row = _row(entry)
            seconds = f"{soundfile.info(self._clips / row.file).duration:.3f}"
            captions = "|".join(row.captions)
            writer.writerow((row.file, row.label, captions, seconds, row.split, row.source, entry.licence))
        with replacing(self._clips / "clips.csv") as temporary:
            temporary.write_text(table_file.getvalue(), "utf-8")


@dataclasses.dataclass(frozen=True)
class _ClipReader(MediaEncoder):
    """Reads the clips that were made; `failures` are the others, each with the reason."""

    failures: tuple[tuple[str, str], ...]

    def waveform(self, row: ClipRow) -> np.ndarray:
        """Returns the sound of a clip; a clip that could not be made is an error with the reason."""
        reason = dict(self.failures).get(row.file.removesuffix(".flac"))
        if reason:
            raise DatasetError(f"{row.file} cannot be made: {reason}.")
        return super().waveform(row)


def _row(entry: table.ClipEntry) -> ClipRow:
    return ClipRow(
        file=entry.file,
        captions=tuple(dict.fromkeys((*entry.captions, *table.labels()[entry.label].captions))),
        label=entry.label,
        source=entry.recording,
        split=entry.split,
    )
