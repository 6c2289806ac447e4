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
    """The room of a module: audiosep_jax.audio.stft is in audio, data_pipelines.prepare.build in …prepare."""
    package, *rest = module.split(".")
    if package == "audiosep_jax":
        return rest[0] if rest else package
    return f"{package}.{rest[0]}" if package == "data_pipelines" and rest else package


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


MODULES = {module_of(path): path for path in FILES}


def modules_of(path):
    """The modules of this project that a file imports, wherever in it."""
    found = {name if name in MODULES else name.rpartition(".")[0] for name in imports(path)}
    return found & MODULES.keys()


# From the top to the bottom: a room may import those below it, and nothing above it.
ROOMS = (
    "experiments",
    "cli",
    "web",
    "aot",
    "sweeps",
    "train",
    "data_pipelines.render",
    "data_pipelines.corpora",
    "data_pipelines.prepare",
    "data_pipelines.mixtures",
    "export",
    "reports",
    "separation",
    "evals",
    "checkpoints",
    "encoders",
    "models",
    "plotting",
    "config",
    "audio",
    "utils",
    "errors",
)
# The package itself says which names are public and where each lives, and commands start from it.
PACKAGES_ALONE = {"audiosep_jax", "data_pipelines"}


def test_every_module_is_in_a_room():
    assert {room(module) for module in MODULES} == {*ROOMS, *PACKAGES_ALONE}
    for package in ("audiosep_jax", "data_pipelines"):
        loose = {path.name for path in (ROOT / package).glob("*.py")}
        assert loose <= {"__init__.py", "errors.py"}, f"{package}: every module belongs into a room"


@pytest.mark.parametrize("name", ROOMS)
def test_arrows_point_down(name):
    allowed = {*ROOMS[ROOMS.index(name) :], *(PACKAGES_ALONE if name in ("cli", "experiments") else ())}
    files = [path for module, path in MODULES.items() if room(module) == name]
    assert files
    wrong = {
        str(path.relative_to(ROOT)): {room(each) for each in modules_of(path)} - allowed for path in files
    }
    assert not {path: rooms for path, rooms in wrong.items() if rooms}


def test_no_import_circle():
    """Neither at the top of modules nor within functions, which hides a circle and does not end it."""
    arrows = {module: modules_of(path) - {module} for module, path in MODULES.items()}
    while leaves := {module for module, targets in arrows.items() if not targets & arrows.keys()}:
        for module in leaves:
            del arrows[module]
    assert not arrows, f"in a circle, or above one: {sorted(arrows)}"


def test_flax_stays_in_its_rooms():
    users = {room(module_of(path)) for path in FILES if any(n.split(".")[0] == "flax" for n in imports(path))}
    assert users <= {"models", "encoders", "checkpoints"}


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
    assert len(text.splitlines()) <= 400, f"{path} is long: split it"
