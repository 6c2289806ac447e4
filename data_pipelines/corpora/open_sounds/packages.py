"""Finds the packages of the corpus in a folder, or downloads them with apt-get."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from audiosep_jax.errors import DatasetError, UsageError, listed, shown
from audiosep_jax.utils.atomic import make_folder
from audiosep_jax.utils.locks import locked
from data_pipelines.corpora.open_sounds import debs, table

_UNFINISHED = ".downloading-"
_LAST_LINES = 3


def find(folder: Path, names: Iterable[str]) -> dict[str, debs.Deb]:
    """Returns the wanted packages of a folder, of several versions preferably that of the table.

    Raises:
      DatasetError: the folder does not exist, a file is damaged, or a package is missing.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"{folder} is not a folder: give the folder of the .deb files, or pass --download to fill it."
        )
    found = _present(folder)
    missing = sorted(set(names) - found.keys())
    if missing:
        raise DatasetError(
            f"{folder} lacks {len(missing)} of the packages that open_sounds is made from: "
            f"{listed(missing)}. Put their .deb files there (on Debian: apt-get download NAME), or pass "
            "--download."
        )
    return {name: found[name] for name in sorted(set(names))}


def download(folder: Path, names: Iterable[str]) -> None:
    """Downloads the missing packages with apt-get, in the table's version if apt-get has it.

    An interrupted download leaves no incomplete package in the folder; the next call gets the rest.

    Raises:
      UsageError: this machine has no apt-get.
      DatasetError: apt-get fails.
      StorageError: the folder cannot be written.
    """
    make_folder(folder)
    present = _present(folder)
    missing = sorted(set(names) - present.keys())
    if not missing:
        return
    apt_get = shutil.which("apt-get")
    if not apt_get:
        raise UsageError(
            f"--download needs apt-get, which this machine lacks: get the .deb files of {listed(missing)} "
            f"from a Debian mirror, put them into {folder}, and leave --download out."
        )
    with (
        locked(
            folder / ".lock", busy=f"another process downloads into {folder}", instead="choose another one"
        ),
        tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=folder) as unfinished,
    ):
        place = Path(unfinished)
        for killed in folder.glob(f"{_UNFINISHED}*"):
            if killed != place:
                shutil.rmtree(killed, ignore_errors=True)
        for name in missing:
            exactly = f"{name}={table.packages()[name].version}"
            if _fetch(apt_get, exactly, place) and (failure := _fetch(apt_get, name, place)):
                raise DatasetError(
                    f"apt-get could not download {name} ({shown(failure)}): check the network, run "
                    "`apt-get update`, then give the same command again; finished packages are kept."
                )
            for file in place.glob("*.deb"):
                file.rename(folder / file.name)


def _fetch(apt_get: str, package: str, folder: Path) -> str:
    """Downloads a package into a folder; returns what apt-get says if it fails, otherwise ""."""
    user = ["-o", "APT::Sandbox::User=root"]  # the folder need not be open to apt's own user
    run = subprocess.run(
        [apt_get, *user, "-q", "download", package], cwd=folder, capture_output=True, text=True, check=False
    )
    lines = [line.strip() for line in run.stderr.splitlines() if line.startswith(("E:", "W:"))]
    return " ".join(lines[-_LAST_LINES:]) or f"exit status {run.returncode}" if run.returncode else ""


def _present(folder: Path) -> dict[str, debs.Deb]:
    known = table.packages()
    found: dict[str, debs.Deb] = {}
    for path in sorted(folder.glob("*.deb")):
        if path.name.split("_")[0] in known:
            deb = debs.read(path)
            entry = known.get(deb.name)
            if entry and (deb.name not in found or deb.version == entry.version):
                found[deb.name] = deb
    return found
