"""Installation: pinned versions, no second framework, clear errors for a wrong Python."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+_-]+)")


def pins() -> dict[str, str]:
    found = {}
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        match = PIN.fullmatch(line)
        assert match, f"{line!r} is more than a name and a version"
        found[_plain(match[1])] = match[2]
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {_plain(re.split(r"[\s\[<>=!~;]", line)[0]) for line in wanted}
    assert names <= set(pins())


def test_no_other_framework_is_installed():
    assert set(pins()).isdisjoint({"torch", "tensorflow", "tensorflow-cpu", "keras", "sentence-transformers"})


def test_encoder_wheel_is_pinned_once():
    lines = (ROOT / "requirements-encoder.txt").read_text("utf-8").splitlines()
    (line,) = [line for line in lines if not line.startswith("#")]
    match = PIN.fullmatch(line)
    assert match
    assert pins()[_plain(match[1])] == match[2]


def _install(tmp_path: Path, python: str) -> subprocess.CompletedProcess[str]:
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "requirements-encoder.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return subprocess.run(
        ["make", "install", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )


def test_old_python_is_refused(tmp_path):
    old = tmp_path / "python3.10"
    old.write_text("#!/bin/sh\nexit 1\n", "utf-8")
    old.chmod(0o755)
    result = _install(tmp_path, str(old))
    assert result.returncode != 0
    assert "needs Python 3.11 or newer" in result.stdout
    assert not (tmp_path / ".venv").exists()


def test_missing_python_is_named(tmp_path):
    result = _install(tmp_path, "python9.99")
    assert result.returncode != 0
    assert "'python9.99' is missing or older" in result.stdout


def test_help_names_every_target():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "test-slow", "lint", "types", "bench", "clean"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
        assert f"make {target} " in shown, target


def test_the_container_copies_what_is_there():
    text = (ROOT / "Dockerfile").read_text("utf-8")
    sources = [word for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert "audiosep_jax" in sources
    assert all((ROOT / source).exists() for source in sources)
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert not set(sources) & set(ignored)


def test_the_workflow_uses_targets_of_the_makefile():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"run: make ([a-z-]+)", text)
    assert {"lint", "types", "test", "test-newest"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_nothing_else(tmp_path):
    """Built from a copy, so that nothing is left in the checkout."""
    source = tmp_path / "source"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "audiosep_jax",
        "data_pipelines",
    }
    for name in (
        "audiosep_jax/py.typed",
        "data_pipelines/py.typed",
        "data_pipelines/corpora/citations.bib",
        "data_pipelines/corpora/registry.json",
        "audiosep_jax/assets/audiosep-open/model.safetensors",
        "audiosep_jax/assets/audiosep-open/presence.json",
        "audiosep_jax/assets/demo/clips.csv",
    ):
        assert name in names
