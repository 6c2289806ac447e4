"""The commands of README.md, in order, and how each is run in less time than a reader would wait."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
# pytest's options: the file stands for the whole suite, which cannot run inside of itself.
ONE_TEST_FILE = "tests/e2e/test_demo_clips.py"
TOKENIZER = "tokenizer"
SMALL_MODEL = ("'model.encoder_widths=[4,8]'", "mixture.segment_seconds=0.5")
# Modules that end with their help, all in one process: each would import the same libraries again.
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


def blocks(language: str) -> list[str]:
    """Returns the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Returns every shell command, continued lines joined."""
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
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
    """Returns a quicker form of a README command that takes the same path, or None for an unknown one.

    Args:
      command: as in the README.
      checkpoint: of a model that compiles quickly.
    """
    match command.split():
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
            # For the devices that are there: the TPU's compiler is no part of the environment.
            return f"{command.replace('v5e:2x2 --batch 96', 'local --batch 2')} --set {' '.join(SMALL_MODEL)}"
        case ["audiosep", "convert", "audiosep_base_4M_steps.ckpt", *_]:
            # The hub's tokenizer is not asked for: the tests run without a network.
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

    They are compiled in half the time: the code is not optimized, the operations are the same. All of them
    are kept, because the next command needs the small ones, too.
    """
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }


def look_like_repository(folder: Path) -> None:
    """Links what the README's commands name, so that everything they write stays in the folder."""
    for name in ("audiosep_jax", "benchmarks", "data_pipelines", "experiments"):
        (folder / name).symlink_to(ROOT / name)
