"""Renders a corpus: in parallel, with the same bytes every time; an interrupted rendering can be resumed."""

import contextlib
import csv
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from audiosep_jax.errors import AudioSepError, DatasetError, UsageError, printable
from audiosep_jax.utils import serialization
from audiosep_jax.utils.atomic import replacing
from audiosep_jax.utils.journal import append_rows, read_rows
from audiosep_jax.utils.threads import map_ahead
from data_pipelines.render import manifest as manifests
from data_pipelines.render.draws import draw_plan
from data_pipelines.render.lock import only_rendering_in
from data_pipelines.render.manifest import Manifest, Mixture, SourceFile
from data_pipelines.render.mixture import ReadClip, Rendered, read_sound_file, render_draw
from data_pipelines.render.recipe import Clip, Recipe

JOURNAL = ".rendering.jsonl"

Progress = Callable[[int, int], None]


def render_corpus(
    clips: Sequence[Clip],
    recipe: Recipe,
    *,
    name: str,
    root: str | Path,
    out: str | Path,
    workers: int = 1,
    hear: ReadClip = read_sound_file,
    progress: Progress | None = None,
) -> Manifest:
    """Draws and writes a corpus: `segment-{i}.wav`, `mixture-{i}.wav`, `NAME_eval.csv` and `manifest.json`.

    After an interruption, the same call resumes. On a complete corpus it checks all files and writes missing
    or changed ones again. The manifest is written last. The clips' paths start from `root`. The bytes do not
    depend on the number of threads. `progress` gets the number of finished mixtures, and that of all.

    Raises:
      UsageError: the name or the number of workers is wrong.
      DatasetError: clips are unusable or have changed, or the folder holds something else.
      AudioFileError: a clip cannot be read.
      StorageError: the folder is in use or cannot be written.
    """
    if not name or set(name) & set("/\\\0") or workers < 1:
        raise UsageError(f"{name!r} with {workers} worker(s): give a name without / and a positive number.")
    root, out = Path(root), Path(out)
    clips = sorted(clips, key=lambda clip: clip.file)
    draws = draw_plan(clips, recipe)
    plan = _plan_hash(name, clips, recipe)
    with only_rendering_in(out):
        _check_folder(out, plan)
        remove_strays(out)
        journal = _Journal(out, plan)
        todo = [draw for draw in draws if draw.index not in journal.mixtures]
        done = len(draws) - len(todo)
        if progress:
            progress(done, len(draws))

        def render(index: int) -> Rendered:
            rendered = render_draw(draws[index], clips=clips, recipe=recipe, root=root, hear=hear)
            for file, content in rendered.files.items():
                write_whole(out / file, content)
            return rendered

        with journal:
            indices = [draw.index for draw in todo]
            for rendered in map_ahead(render, indices, workers=workers):
                journal.add(rendered)
                done += 1
                if progress:
                    progress(done, len(draws))
        mixtures = tuple(journal.mixtures[index] for index in range(len(draws)))
        used = {part.file for mixture in mixtures for part in mixture.parts}
        manifest = Manifest(
            name=name,
            digest=manifests.digest_of(mixtures),
            plan=plan,
            recipe=recipe,
            libraries=manifests.libraries(used),
            sources=tuple(SourceFile(file=file, sha256=journal.sources[file]) for file in sorted(used)),
            mixtures=mixtures,
        )
        write_whole(out / manifests.table_name(name), table(manifest).encode())
        write_whole(out / manifests.NAME, manifests.manifest_text(manifest).encode())
        journal.remove()
        return manifest


def table(manifest: Manifest) -> str:
    """Returns the corpus's CSV with the columns of the PyTorch AudioSep's lists.

    They are those of its AudioCaps list for captions, and of its ESC-50 list for classes. Several noises of a
    mixture share a cell, separated by "|".
    """
    with_labels = manifest.recipe.query == "caption" and any(mixture.label for mixture in manifest.mixtures)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["idx", "caption", *(["labels"] if with_labels else []), "src_wav", "noise_wav"])
    for mixture in manifest.mixtures:
        target, *others = mixture.parts
        labels = [" ".join(label.replace("_", " ") for label in target.labels)] if with_labels else []
        noises = "|".join(part.file for part in others)
        writer.writerow([mixture.index, mixture.caption, *labels, target.file, noises])
    return text.getvalue()


def files_are_there(out: Path, mixture: Mixture) -> bool:
    """Returns whether both files of a mixture exist unchanged."""
    return all(
        (out / file).is_file() and manifests.sha256_of(out / file) == sha256
        for file, sha256 in mixture.hashes.items()
    )


def remove_strays(out: Path) -> None:
    """Removes the temporary files of a killed process."""
    for start in (".segment-", ".mixture-", ".manifest-", ".*_eval-", f".{Path(JOURNAL).stem}-"):
        for stray in out.glob(f"{start}*"):
            stray.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all; `StorageError` if it cannot be written."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _plan_hash(name: str, clips: Sequence[Clip], recipe: Recipe) -> str:
    values = [name, [dataclasses.astuple(clip) for clip in clips], dataclasses.asdict(recipe)]
    values += [dataclasses.astuple(library) for library in manifests.libraries([clip.file for clip in clips])]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _check_folder(out: Path, plan: str) -> None:
    """Raises if a folder holds another corpus, or other files."""
    if (out / manifests.NAME).exists():
        known = manifests.load_manifest(out / manifests.NAME).plan
    else:
        known = next(iter(_read(out / JOURNAL)), {}).get("plan")
    if known is None:
        if all(path.name.startswith(".") for path in out.iterdir()):
            return
        if (out / JOURNAL).exists():
            raise DatasetError(
                f"{printable(out)} holds files of an interrupted rendering without its journal: remove the "
                "folder, or choose another one."
            )
        raise DatasetError(f"{printable(out)} has files but no corpus: choose another folder.")
    if known != plan:
        raise DatasetError(
            f"{printable(out)} holds a corpus of other clips, another recipe or other library versions: "
            "choose another folder, or remove it."
        )


class _Journal:
    """What is done so far, a line per mixture; mixtures whose files are gone or changed count as not done."""

    def __init__(self, out: Path, plan: str) -> None:
        self._path = out / JOURNAL
        self.mixtures: dict[int, Mixture] = {}
        self.sources: dict[str, str] = {}
        kept = []
        if (out / manifests.NAME).exists():
            manifest = manifests.load_manifest(out / manifests.NAME)
            hashes = {source.file: source.sha256 for source in manifest.sources}
            kept = [
                (mixture, {part.file: hashes[part.file] for part in mixture.parts})
                for mixture in manifest.mixtures
            ]
        for line in _read(self._path)[1:]:
            try:
                kept.append((serialization.from_dict(Mixture, line["mixture"]), dict(line["sources"])))
            except (AudioSepError, KeyError, TypeError, ValueError):
                continue  # the line that an interruption cut
        rows: list[dict] = [{"plan": plan}]
        for mixture, sources in kept:
            self._note(sources)
            if mixture.index not in self.mixtures and files_are_there(out, mixture):
                self.mixtures[mixture.index] = mixture
                rows.append(_row(mixture, sources))
        self._write_durable(rows)

    def __enter__(self) -> "_Journal":
        self._file = self._path.open("ab", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, rendered: Rendered) -> None:
        self._note(rendered.sources)
        self.mixtures[rendered.mixture.index] = rendered.mixture
        append_rows(self._file, [_row(rendered.mixture, rendered.sources)])

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def _write_durable(self, rows: Sequence[dict]) -> None:
        """Puts the journal on the disk before the first file: without it, files of a folder are refused."""
        with replacing(self._path) as temporary, temporary.open("ab", buffering=0) as file:
            append_rows(file, rows, durable=True)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # not every file system can do that
                os.fsync(folder)
        finally:
            os.close(folder)

    def _note(self, sources: dict[str, str]) -> None:
        for file, sha256 in sources.items():
            if self.sources.setdefault(file, sha256) != sha256:
                raise DatasetError(
                    f"{printable(file)} has changed since mixtures were made of it: render all of them "
                    "again, into another folder."
                )


def _row(mixture: Mixture, sources: dict[str, str]) -> dict:
    return {"mixture": dataclasses.asdict(mixture), "sources": sources}


def _read(path: Path) -> list[dict]:
    return read_rows(path.read_bytes()) if path.exists() else []
