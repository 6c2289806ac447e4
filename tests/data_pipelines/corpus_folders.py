"""Small copies of the layouts of public corpora, and what `audiosep prepare` makes of them."""

import csv
import io
import json
from pathlib import Path

import soundfile
import tyro
from pipelines_sounds import RATE, tone, write_wav

from audiosep_jax.commands.prepare import PrepareArgs, run
from data_pipelines.clip_index import Clip, ClipStore
from data_pipelines.clips import decode_flac


def sound(path: Path, index: int = 0, *, seconds: float = 0.2) -> None:
    """Writes a tone in whatever format the suffix says."""
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


class Prepared:
    """A dataset that `audiosep prepare NAME` has written beside its source."""

    def __init__(self, name: str, source: Path, *words: object):
        self.folder = source.parent / f"{source.name}-prepared"
        arguments = (name, "--source", source, "--out", self.folder, "--sample-rate-hz", RATE, *words)
        assert run(tyro.cli(PrepareArgs, args=[str(word) for word in arguments])) == 0
        self.report = json.loads((self.folder / "report.json").read_text("utf-8"))
        self.info = json.loads((self.folder / "dataset_info.json").read_text("utf-8"))

    def clips(self, split: str) -> dict[str, Clip]:
        return {clip.id: clip for clip in ClipStore(f"{self.folder}:{split}").clips}

    def store(self, split: str) -> ClipStore:
        return ClipStore(f"{self.folder}:{split}")

    def waveform(self, split: str, clip: str):
        import numpy as np

        store = self.store(split)
        index = [known.id for known in store.clips].index(clip)
        out = np.zeros(store.clips[index].samples, np.float32)
        decode_flac(store.flac(index), out, start=0)
        return out

    @property
    def skipped(self) -> dict[str, str]:
        return {clip["file"]: clip["reason"] for clip in self.report["skipped"]}
