"""MUSIC (H. Zhao et al., "The Sound of Pixels", 2018)."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from audiosep_jax.errors import DatasetError, UsageError
from data_pipelines.corpora.citations import citation
from data_pipelines.corpora.corpus import Corpus
from data_pipelines.corpora.label_text import caption_of
from data_pipelines.corpora.tables import SOUND_SUFFIXES, find_file, read_json
from data_pipelines.mixtures.clips import ClipRow
from data_pipelines.prepare.video import CONTAINER_SUFFIXES

_TABLES = {
    "solo": ("MUSIC_solo_videos.json", "MUSIC21_solo_videos.json"),
    "duet": ("MUSIC_duet_videos.json",),
}
_SEGMENT = re.compile(r"_\d+$")


class Music(Corpus):
    """MUSIC: videos of people who play one instrument, or two.

    The folder holds `MUSIC_solo_videos.json`, `MUSIC_duet_videos.json` or `MUSIC21_solo_videos.json`
    (`{"videos": {"acoustic_guitar": [YouTube identities]}}`; a space separates the two instruments of a
    duet), here or in `MUSIC_dataset/` or `metadata/`. The videos or their sound may lie in any folder below
    it, usually one per instrument, as `ID.mp4`, `YID.webm`, `ID.wav`, … or cut into `ID_0.mp4`, `ID_1.mp4`,
    …, each of which is a clip. The caption is the instrument's name. Videos are read with PyAV:
    `pip install 'audiosep_jax[video]'`. `frames` images of each video are stored, at equal distances.
    """

    name = "music"
    RELEASE_NOTES = {"1.0.0": "The lists of version 1.0, and MUSIC-21's."}  # noqa: RUF012
    HOMEPAGE = "https://github.com/roudimit/MUSIC_dataset"
    LICENCE = "The lists are public without a licence; the videos belong to those who uploaded them."
    CITATION = citation("zhao2018sound")
    SPLITS = ("solo", "duet")
    COUNTS = {"solo": 536, "duet": 149}  # noqa: RUF012

    needs = "MUSIC_solo_videos.json or MUSIC_duet_videos.json, and videos named by YouTube's identity"

    def __init__(self, *, source: str | Path, frames: int = 0, **kwargs: Any):
        if frames < 0:
            raise UsageError(f"The number of frames is {frames}: give 0 or more.")
        self._frames = frames
        super().__init__(source=source, **kwargs)

    @property
    def suffixes(self) -> Sequence[str]:
        """Suffixes of sound files; videos are preferred if their images are stored."""
        return CONTAINER_SUFFIXES + SOUND_SUFFIXES if self._frames else super().suffixes

    def find_tables(self, split: str) -> Sequence[Path]:
        """Returns the lists of a split that exist."""
        found = [find_file(self.source, name, "MUSIC_dataset", "metadata") for name in _TABLES[split]]
        return [path for path in found if path]

    def read_split(self, split: str, tables: Sequence[Path]) -> Iterator[ClipRow]:
        """Yields the files of each video, or the path that the file of an absent video would have."""
        instruments: dict[str, list[str]] = {}
        for path in tables:
            for names, video in _read_videos(path):
                known = instruments.setdefault(video, [])
                known += [name for name in names if name not in known]
        files: dict[str, list[str]] = {}
        for stem, file in self.files:
            video = next((name for name in _videos(stem) if name in instruments), None)
            if video:
                files.setdefault(video, []).append(file)
        for video, names in instruments.items():
            labels = tuple(names)
            for file in sorted(files.get(video, [f"{'_'.join(names).replace(' ', '_')}/{video}.mp4"])):
                filmed = self._frames and file.lower().endswith(CONTAINER_SUFFIXES)
                yield ClipRow(
                    file=file,
                    captions=(caption_of(labels),),
                    label=names[0],
                    labels=labels if len(labels) > 1 else (),
                    source=video,
                    split=split,
                    frames=(f"{file}#frames={self._frames}",) if filmed else (),
                )


def _read_videos(path: Path) -> Iterator[tuple[list[str], str]]:
    """Yields each video with its instruments."""
    what = 'a list of MUSIC, {"videos": {"violin": [YouTube identities]}}'
    content = read_json(path, what=what)
    try:
        for instruments, videos in content["videos"].items():
            names = [name.replace("_", " ") for name in instruments.split()]
            for video in videos:
                if not isinstance(video, str) or not video or not names:
                    raise TypeError(f"{video!r} of {instruments!r}")
                yield names, video
    except (AttributeError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path} is not a list of videos by instrument ({error!r}): give {what}."
        ) from error


def _videos(stem: str) -> Iterator[str]:
    """Yields the possible identities of a file; YouTube's identities may contain "_" and digits too."""
    for name in (stem, _SEGMENT.sub("", stem)):
        yield name
        yield name.removeprefix("Y")
