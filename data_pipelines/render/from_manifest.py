"""Rendering a corpus from its manifest, and saying what differs where something does."""

from collections.abc import Callable
from pathlib import Path

from audiosep_jax.errors import DatasetError, printable
from data_pipelines.render import manifest as manifests
from data_pipelines.render.corpus import files_are_there, in_parallel, remove_strays, table
from data_pipelines.render.lock import only_rendering_in
from data_pipelines.render.manifest import Manifest
from data_pipelines.render.mixture import Hear, Rendered, hear_sound_file, render_again
from data_pipelines.render.wav import write_whole

_NAMED = 5


def render_from_manifest(
    path: str | Path,
    *,
    root: str | Path,
    out: str | Path,
    workers: int = 1,
    hear: Hear = hear_sound_file,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Writes the corpus of a manifest and checks every byte of it.

    Files that are there already and right are kept, so that an interrupted call goes on. A file that comes
    out differently is not kept, and neither are the table and the manifest then.

    Args:
      path: the manifest.
      root: folder that the clips' paths start from.
      out: folder of the corpus.
      workers: threads.
      hear: reads a clip's file, as when the corpus was rendered.
      progress: called with (mixtures done, mixtures in all).

    Raises:
      AudioSepError: clips are missing or not those of the manifest, or files differ from it; the text says
        which, and which library versions differ; or the folder holds something else or is in use.
    """
    if workers < 1:
        raise DatasetError(f"{workers} worker(s) were asked for: give a positive number.")
    root, out = Path(root), Path(out)
    manifest = manifests.load_manifest(path)
    text = Path(path).read_bytes()
    _check_sources(manifest, root, path)
    with only_rendering_in(out):
        if (out / manifests.NAME).exists() and (out / manifests.NAME).read_bytes() != text:
            raise DatasetError(f"{printable(out)} holds another corpus: choose another folder, or remove it.")
        remove_strays(out)
        todo = [mixture.index for mixture in manifest.mixtures if not files_are_there(out, mixture)]
        done, total = len(manifest.mixtures) - len(todo), len(manifest.mixtures)

        def render(index: int) -> Rendered:
            mixture = manifest.mixtures[index]
            rendered = render_again(mixture, recipe=manifest.recipe, root=root, hear=hear)
            for file, content in rendered.files.items():
                if rendered.mixture.hashes[file] == mixture.hashes[file]:
                    write_whole(out / file, content)
            return rendered

        differing = []
        for rendered in in_parallel(render, todo, workers=workers):
            wanted = manifest.mixtures[rendered.mixture.index].hashes
            differing += [file for file, sha256 in rendered.mixture.hashes.items() if wanted[file] != sha256]
            done += 1
            if progress:
                progress(done, total)
        if differing:
            raise DatasetError(
                f"{len(differing)} of {2 * total} files come out differently from {printable(path)}: "
                f"{_some(differing)}; {_why(manifest)}"
            )
        write_whole(out / manifests.table_name(manifest.name), table(manifest).encode())
        write_whole(out / manifests.NAME, text)
        return manifest


def _check_sources(manifest: Manifest, root: Path, path: str | Path) -> None:
    if not root.is_dir():
        raise DatasetError(f"{printable(root)} is not a folder: give the folder that holds the clips.")
    missing = [one.file for one in manifest.sources if not (root / one.file).is_file()]
    changed = [
        one.file
        for one in manifest.sources
        if one.file not in missing and manifests.sha256_of(root / one.file) != one.sha256
    ]
    problems = [
        f"{len(files)} {what} ({_some(files)})"
        for files, what in ((missing, "missing"), (changed, "other than they were"))
        if files
    ]
    if problems:
        raise DatasetError(
            f"of the {len(manifest.sources)} clips that {printable(path)} was made from, below "
            f"{printable(root)} {' and '.join(problems)}: get the same files."
        )


def _why(manifest: Manifest) -> str:
    here = {
        library.name: library.version for library in manifests.libraries(one.file for one in manifest.sources)
    }
    others = [
        f"{library.name} {library.version} (here {here.get(library.name, 'none')})"
        for library in manifest.libraries
        if here.get(library.name) != library.version
    ]
    if others:
        return f"it was written with {', '.join(others)} from the same clips: install those versions."
    return (
        "clips and library versions are the same, so this machine decodes or resamples differently: render "
        "on one like that of the manifest, or exchange the files."
    )


def _some(files: list[str]) -> str:
    more = len(files) - _NAMED
    return ", ".join(printable(file) for file in files[:_NAMED]) + (f" and {more} more" if more > 0 else "")
