"""`audiosep push`: its arguments reach the upload, and it prints the address."""

import pytest

from audiosep_jax.checkpoints import hub_upload
from audiosep_jax.cli import main


@pytest.fixture
def pushed(monkeypatch):
    calls = []

    def push(folder, repository, **options):
        calls.append((str(folder), repository, options))
        return f"https://huggingface.co/{repository}"

    monkeypatch.setattr(hub_upload, "push", push)
    return calls


def test_arguments_and_address(pushed, capsys):
    assert main.main(["push", "runs/model", "org/name"]) == 0
    options = ["--private", "--revision", "trial", "--message", "better"]
    assert main.main(["push", "runs/model", "org/name", *options]) == 0
    assert pushed == [
        ("runs/model", "org/name", {"private": False, "revision": None, "message": None}),
        ("runs/model", "org/name", {"private": True, "revision": "trial", "message": "better"}),
    ]
    assert capsys.readouterr().out == "runs/model is published at https://huggingface.co/org/name\n" * 2


def test_a_missing_folder_is_one_line(tmp_path, capsys):
    assert main.main(["push", str(tmp_path / "nothing"), "org/name"]) == 2
    assert "nothing is not a checkpoint folder: it does not exist." in capsys.readouterr().err
