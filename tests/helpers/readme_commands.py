"""The commands of README.md and docs/speed.md, in order, and a quicker form of each that tests run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, ROOT / "docs" / "speed.md")
# `make test` runs this file alone here, because the whole suite cannot run inside itself.
ONE_TEST_FILE = "tests/e2e/test_demo_clips.py"
TOKENIZER = "tokenizer"
SMALL_MODEL = ("'model.encoder_widths=[4,8]'", "mixture.segment_seconds=0.5")
# Shows the help of several modules in one process, so that JAX is imported once.
HELP = """
import runpy, sys
for name in sys.argv[1:]:
    sys.argv = [name, "--help"]
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert not end.code, (name, end.code)
    else:
        raise AssertionError(f"{name} did not end with its help")
"""
# What `pip install` would install is installed already: tests must not replace this environment.
REQUIREMENTS = """
import sys, tomllib
from importlib.metadata import version
from packaging.requirements import Requirement
for name in sys.argv[1:]:
    text = open(name, encoding="utf-8").read()
    lines = tomllib.loads(text)["project"]["dependencies"] if name.endswith(".toml") else text.splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            wanted = Requirement(line)
            assert wanted.specifier.contains(version(wanted.name)), line
"""


def blocks(language: str, page: Path = README) -> list[str]:
    """Returns the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Returns every shell command, continued lines joined."""
    lines = "".join(block for page in PAGES for block in blocks("sh", page)).replace("\\\n", " ").splitlines()
    return [re.sub(r" +", " ", line).strip() for line in lines if line.strip()]


def recipe(target: str) -> str:
    """Returns what `make TARGET` runs in an environment that is up to date."""
    run = subprocess.run(
        ["make", "--no-print-directory", "-n", "-o", ".venv/.installed", target],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.replace(".venv/bin/", "")  # `environment` finds the programs of this Python


def shortened(command: str, checkpoint: Path) -> str | None:
    """Returns a quicker form of a command that runs the same code, or None for an unknown command.

    Args:
      command: as in the README.
      checkpoint: of a model that compiles quickly.
    """
    match command.split():
        case ["pip", "install", "."]:
            return shlex.join(["python", "-c", REQUIREMENTS, str(ROOT / "pyproject.toml")])
        case ["pip", "install", "--no-deps", "-r", "requirements-encoder.txt"]:
            return shlex.join(["python", "-c", REQUIREMENTS, str(ROOT / "requirements-encoder.txt")])
        case ["make", "demo"]:
            return f"{recipe('demo').strip()} --steps 2 --mixtures 3 --checkpoint {checkpoint}"
        case ["make", "test"]:
            return f"{recipe('test').strip()} {ROOT / ONE_TEST_FILE}"
        case ["make", "bench"]:
            modules = re.findall(r"^python -m (\S+)$", recipe("bench"), re.MULTILINE)
            assert len(modules) == len(recipe("bench").splitlines())
            return shlex.join(["python", "-c", HELP, *modules])
        case [".", ".venv/bin/activate"]:
            # Not grep -q: it closes the pipe at the first match, and make may die of that.
            return f"env -u MAKEFLAGS -u MAKELEVEL make -n -B -C {ROOT} install | grep -e '-m venv .venv'"
        case ["audiosep", "train", *_] if "train.steps=100 " in command:
            # A model of two blocks compiles in a tenth of the time.
            return f"{command.replace('train.steps=100 ', 'train.steps=2 ')} 'model.encoder_widths=[4,8]'"
        case ["audiosep", "compile", *_] if "--topology v5e:2x2 --batch 96 " in command:
            # For this machine's devices: the environment has no TPU compiler.
            return f"{command.replace('v5e:2x2 --batch 96', 'local --batch 2')} --set {' '.join(SMALL_MODEL)}"
        case ["audiosep", "convert", "audiosep_base_4M_steps.ckpt", *_]:
            # A local tokenizer: the tests run without a network.
            return f"{command} --tokenizer {TOKENIZER}"
        case ["audiosep", "export", "--format", *_]:
            return f"{command} --functions whole --window-seconds 1"
        case ["audiosep", "benchmark", *_]:
            return f"{command} --checkpoint {checkpoint}"
        case ["audiosep", "sweep", *_]:
            return f"{command} --set {' '.join(SMALL_MODEL)}"
        case ["audiosep", "prepare" | "evaluate" | "separate" | "convert" | "export" | "render" | "show", *_]:
            return command
    return None


def run(command: str, folder: Path, *, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
    """Runs a command line in a folder that looks like the repository."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def environment(folder: Path) -> dict[str, str]:
    """Returns the environment of a reader who activated `.venv`; compiled programs stay in the folder.

    Programs are compiled without optimization, in half the time; all are kept for the next command.
    """
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }


def look_like_repository(folder: Path) -> None:
    """Links the folders that the README's commands read, so that what they write stays in `folder`."""
    for name in ("audiosep_jax", "benchmarks", "data_pipelines", "experiments"):
        (folder / name).symlink_to(ROOT / name)
