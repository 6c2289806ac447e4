"""Small copies of the layouts of public corpora, and their prepared datasets."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tyro
from pipelines_sounds import RATE, tone, write_wav

from audiosep_jax.cli.prepare import PrepareArgs, run
from data_pipelines.corpora import registry
from data_pipelines.mixtures.clip_index import Clip, ClipStore
from data_pipelines.mixtures.clips import decode_flac
from data_pipelines.prepare.build import prepare


def sound(path: Path, index: int = 0, *, seconds: float = 0.2) -> None:
    """Writes a tone in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".wav":
        write_wav(path, tone(index, seconds=seconds))
    else:
        soundfile.write(path, tone(index, seconds=seconds), RATE)


def damaged(path: Path) -> None:
    """Writes the first half of a sound file."""
    whole = io.BytesIO()
    soundfile.write(whole, tone(0, seconds=0.2), RATE, format="WAV", subtype="PCM_16")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(whole.getvalue()[:1000])


def text(path: Path, content: str, *, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding))


def table(path: Path, header: str, *rows: tuple[object, ...]) -> None:
    """Writes a CSV as Python's writer quotes it."""
    file = io.StringIO()
    writer = csv.writer(file)
    if header:
        writer.writerow(header.split(","))
    writer.writerows(rows)
    text(path, file.getvalue())


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Prepared:
    """A dataset that `audiosep prepare NAME` has written beside its source."""

    def __init__(self, name: str, source: Path, *words: object):
        self.folder = source.parent / f"{source.name}-prepared"
        arguments = (name, "--source", source, "--out", self.folder, "--sample-rate-hz", RATE, *words)
        self.args = tyro.cli(PrepareArgs, args=[str(word) for word in arguments])
        assert run(self.args) == 0
        self.report = json.loads((self.folder / "report.json").read_text("utf-8"))
        self.info = json.loads((self.folder / "dataset_info.json").read_text("utf-8"))

    def clips(self, split: str) -> dict[str, Clip]:
        return {clip.id: clip for clip in ClipStore(f"{self.folder}:{split}").clips}

    def is_the_same_after_an_interruption(self) -> bool:
        """Builds twice with one clip per shard, the second time interrupted at the third clip."""
        whole, cut = (self.folder.with_name(f"{self.folder.name}-{kind}") for kind in ("whole", "cut"))
        self._build(whole)
        clips = iter(range(2))

        def on_clip() -> None:
            if next(clips, None) is None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self._build(cut, on_clip=on_clip)
        assert not cut.exists()
        finished: list[int] = []
        self._build(cut, on_resume=finished.append)
        assert finished[0] > 0
        return _content(cut) == _content(whole)

    def _build(
        self,
        out: Path,
        *,
        on_clip: Callable[[], None] | None = None,
        on_resume: Callable[[int], None] | None = None,
    ) -> None:
        builder = registry.builder_class(self.args.dataset)
        given = {name: getattr(self.args, name) for name in ("source", "sample_rate_hz", "max_failed_share")}
        given |= {name: getattr(self.args, name) for name in registry.DATASETS[self.args.dataset].options}
        given = {name: value for name, value in given.items() if value is not None}
        given |= {"workers": 1, "clips_per_shard": 1, "on_clip": on_clip}
        prepare(lambda work: builder(data_dir=work, **given), out, on_resume=on_resume)

    def store(self, split: str) -> ClipStore:
        return ClipStore(f"{self.folder}:{split}")

    def waveform(self, split: str, clip: str) -> np.ndarray:
        store = self.store(split)
        index = [known.id for known in store.clips].index(clip)
        out = np.zeros(store.clips[index].samples, np.float32)
        decode_flac(store.flac(index), out, start=0)
        return out

    @property
    def skipped(self) -> dict[str, str]:
        return {clip["file"]: clip["reason"] for clip in self.report["skipped"]}
