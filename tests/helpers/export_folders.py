"""Runs the command, and copies exports for tests that damage them."""

import json
import shutil
from pathlib import Path

from audiosep_jax.cli import main


def audiosep(capsys, *arguments):
    """Returns the exit status, and output and errors together."""
    status = main.main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return status, shown.out + shown.err


def copied(exported, kind, tmp_path):
    return Path(shutil.copytree(exported[kind], tmp_path / kind))


def edit(place, **changes):
    path = place / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")
