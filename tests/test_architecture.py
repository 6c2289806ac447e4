"""The rooms and who may know whom; what is never imported; what every folder says of itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("audiosep_jax", "data_pipelines", "experiments")
FILES = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts
)


def room(module):
    """The room of a module: audiosep_jax.audio.stft is in audio, data_pipelines.draws in data_pipelines."""
    parts = module.split(".")
    return parts[1] if parts[0] == "audiosep_jax" and len(parts) > 1 else parts[0]


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """Every module that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(path):
    """The rooms of this project that a file imports, its own left out."""
    known = {room(name) for name in imports(path) if name.split(".")[0] in PACKAGES}
    return known - {room(module_of(path))}


# Room -> the rooms it may know. What stands in no line here (commands, cli, …) may know all.
ARROWS = {
    "errors": set(),
    "atomic": {"errors"},
    "locking": {"errors"},
    "python_files": {"errors"},
    "config": {"errors"},
    "serialization": {"errors"},
    "audio": {"errors"},
    "models": {"audio", "config", "errors"},
    "query": {"atomic", "audio", "config", "errors", "serialization"},
    "checkpoints": {"config", "errors", "models", "query", "serialization"},
    "export": {"audio", "checkpoints", "config", "errors", "models", "serialization"},
    "evals": {"atomic", "audio", "config", "errors", "models", "serialization"},
    "benchmark": {"atomic", "audio", "config", "errors", "evals", "locking", "serialization"},
    "rendering": {"atomic", "audio", "config", "errors", "evals", "locking", "serialization"},
    "train": {
        "atomic",
        "audio",
        "checkpoints",
        "config",
        "data_pipelines",
        "errors",
        "evals",
        "locking",
        "models",
        "query",
        "serialization",
    },
    "capacity": {"audio", "config", "data_pipelines", "errors", "models", "serialization", "train"},
    "data_pipelines": {"atomic", "audio", "config", "errors", "locking", "serialization"},
    "sweeps": {
        "atomic",
        "config",
        "errors",
        "evals",
        "locking",
        "models",
        "python_files",
        "serialization",
        "train",
    },
    "seeing": {"atomic", "audio", "errors", "evals", "serialization"},
    "web": {"audio", "errors", "evals", "locking", "presence", "seeing", "separation"},
}


@pytest.mark.parametrize("name", list(ARROWS))
def test_arrows_point_one_way(name):
    files = [path for path in FILES if room(module_of(path)) == name]
    assert files
    wrong = {str(path.relative_to(ROOT)): ours(path) - ARROWS[name] for path in files}
    assert not {path: rooms for path, rooms in wrong.items() if rooms}


def test_flax_stays_in_its_rooms():
    users = {room(module_of(path)) for path in FILES if any(n.split(".")[0] == "flax" for n in imports(path))}
    assert users <= {"models", "query", "checkpoints"}


def test_no_file_imports_tensorflow_or_pytorch():
    banned = {"tensorflow", "torch", "torchaudio", "torchlibrosa", "librosa"}
    for path in FILES:
        assert not {name.split(".")[0] for name in imports(path)} & banned, path


def test_importing_everything_brings_neither_tensorflow_nor_pytorch():
    modules = [module_of(path) for path in FILES]
    code = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(names & {'tensorflow', 'torch', 'jaxlib', 'flax'}))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "['flax', 'jaxlib']"


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "__init__.py"], ids=module_of)
def test_every_folder_says_in_one_sentence_what_lives_there(path):
    said = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert said, f"{path} has no docstring"
    assert "\n" not in said
    assert said.endswith(".")


def test_every_folder_with_code_is_a_package():
    for folder in {path.parent for path in FILES}:
        assert (folder / "__init__.py").is_file(), folder


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_every_file_has_a_docstring_and_one_purpose(path):
    text = path.read_text("utf-8")
    assert ast.get_docstring(ast.parse(text)), path
    assert len(text.splitlines()) <= 300, f"{path} is long: split it"
