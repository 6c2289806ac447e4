"""Checkpoints by their names on the hub: downloaded once, found offline, clear errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import hub_server
import pytest

from audiosep_jax.checkpoints import hub
from audiosep_jax.errors import AudioSepError

FILES = {
    "config.json": b'{"name": "small", "query": {"encoder": "clap", "source": "tower"}}',
    "model.safetensors": b"weights",
    "carried.safetensors": b"carried",
    "tower/config.json": b"{}",
    "tower/tokenizer.json": b"{}",
    "tower/model.safetensors": b"tower",
    "README.md": b"card",
    "optimizer.bin": b"not needed",
    "code.py": b"import os",
}

RESOLVE = """
import json, sys
from audiosep_jax.checkpoints import hub
from audiosep_jax.errors import AudioSepError
for name in sys.argv[1:]:
    try:
        folder = hub.resolve(name)
        files = {str(f.relative_to(folder)): f.read_text() for f in folder.rglob("*") if f.is_file()}
        print(json.dumps(["folder", str(folder), files]))
    except AudioSepError as error:
        print(json.dumps(["error", str(error), {}]))
"""


@pytest.fixture
def server():
    with hub_server.running() as server:
        server.models["org/small"] = dict(FILES)
        yield server


@pytest.fixture
def ask(server, tmp_path):
    """Resolves names in a new process, because the address of the hub is read at its start."""

    def ask(*names, **environment):
        settings = {
            "HF_ENDPOINT": server.address,
            "HF_HOME": str(tmp_path / "hub"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
        }
        run = subprocess.run(
            [sys.executable, "-c", RESOLVE, *names],
            capture_output=True,
            text=True,
            env=os.environ | settings | environment,
        )
        assert run.returncode == 0, run.stderr
        return [json.loads(line) for line in run.stdout.splitlines()]

    return ask


def test_a_model_is_downloaded_once_and_then_found_without_the_hub(server, ask):
    kind, folder, files = ask("org/small")[0]
    assert kind == "folder", folder
    wanted = {name: text.decode() for name, text in FILES.items() if name not in ("optimizer.bin", "code.py")}
    assert files == wanted
    assert not any("optimizer" in path for _, path in server.requests)
    server.requests.clear()
    assert ask("org/small")[0] == ["folder", folder, wanted]
    assert not any("org/small" in path for _, path in server.requests)
    server.status = 503
    assert ask("org/small", f"org/small@{hub_server.COMMIT}", HF_HUB_OFFLINE="1")[0][1] == folder


def test_every_refusal_says_what_to_do(server, ask):
    server.models["org/torch"] = {"model.ckpt": b"x"}
    said = [error for kind, error, _ in ask("org/absent", "org/small@other", "org/torch") if kind == "error"]
    assert "'org/absent' is neither a folder here nor a model on the Hugging Face hub" in said[0]
    assert "org/small has no revision 'other'" in said[1]
    assert "org/torch on the hub has no config.json and no model.safetensors" in said[2]


def test_without_a_network_the_error_says_what_to_do(ask):
    ((kind, said, _),) = ask("org/small", HF_HUB_OFFLINE="1")
    assert kind == "error"
    assert "org/small is not in the Hugging Face cache and could not be downloaded" in said
    assert said.endswith("or give a checkpoint folder.")


@pytest.mark.parametrize("lost", ["model.safetensors", "tower/model.safetensors"])
def test_a_part_of_a_model_in_the_cache_is_completed(lost, ask):
    """An interrupted download leaves a part."""
    _, folder, files = ask("org/small")[0]
    (Path(folder) / lost).unlink()
    assert ask("org/small")[0][2] == files


@pytest.mark.parametrize("name", ["a/b/c", "/nowhere/x", "small", "..", "org/na me", Path("org/small")])
def test_other_names_stay_paths(name):
    assert hub.resolve(name) == Path(name)


def test_a_local_folder_wins_over_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "small").mkdir(parents=True)
    assert hub.resolve("org/small") == Path("org/small")


def test_the_error_of_a_name_is_one_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(AudioSepError, match=r"has no config\.json and no model\.safetensors"):
        hub.resolve("org/empty")
