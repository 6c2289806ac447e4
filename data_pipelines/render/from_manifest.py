"""Renders a corpus from its manifest and reports every difference."""

from collections.abc import Callable
from pathlib import Path

from audiosep_jax.errors import DatasetError, UsageError, listed, printable
from audiosep_jax.utils.threads import map_ahead
from data_pipelines.render import manifest as manifests
from data_pipelines.render.corpus import files_are_there, remove_strays, table, write_whole
from data_pipelines.render.lock import only_rendering_in
from data_pipelines.render.manifest import Manifest
from data_pipelines.render.mixture import ReadClip, Rendered, read_sound_file, render_again


def render_from_manifest(
    path: str | Path,
    *,
    root: str | Path,
    out: str | Path,
    workers: int = 1,
    hear: ReadClip = read_sound_file,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Writes the corpus of a manifest and checks every byte of it.

    Existing correct files are kept, so the same call resumes after an interruption. A file that differs from
    the manifest is not written; then the table and the manifest are not written either. The arguments are
    those of `render_corpus`; `hear` must read clips as when the corpus was rendered.

    Raises:
      UsageError: the number of workers is wrong.
      DatasetError: clips are missing or changed, or files differ from the manifest; the text names them, and
        the library versions that differ. Or the folder holds something else.
      AudioFileError: a clip cannot be read.
      StorageError: the folder is in use or cannot be written.
    """
    if workers < 1:
        raise UsageError(f"the number of workers is {workers}: give 1 or more.")
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
        for rendered in map_ahead(render, todo, workers=workers):
            wanted = manifest.mixtures[rendered.mixture.index].hashes
            differing += [file for file, sha256 in rendered.mixture.hashes.items() if wanted[file] != sha256]
            done += 1
            if progress:
                progress(done, total)
        if differing:
            raise DatasetError(
                f"{len(differing)} of {2 * total} files differ from {printable(path)}: "
                f"{listed(map(printable, differing))}; {_why(manifest)}"
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
        f"{len(files)} of {len(manifest.sources)} {what} ({listed(map(printable, files))})"
        for files, what in ((missing, "missing"), (changed, "changed"))
        if files
    ]
    if problems:
        raise DatasetError(
            f"the clips in {printable(root)} are not those of {printable(path)}: {', '.join(problems)}; get "
            "the same files."
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
        return f"it was made from the same clips with {listed(others)}: install those versions."
    return (
        "clips and library versions are the same, so this machine decodes or resamples differently: render "
        "on a machine like that of the manifest, or copy the files."
    )
