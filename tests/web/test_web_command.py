import dataclasses
import re
import socket
import sys
from pathlib import Path

import pytest

from audiosep_jax.cli import main
from audiosep_jax.cli.web import WebArgs
from audiosep_jax.web.limits import Limits


@pytest.fixture
def without_gradio(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)


@pytest.mark.usefixtures("without_gradio")
def test_the_missing_extra_is_named(capsys):
    assert main.main(["web"]) == 2
    assert "gradio, which is not installed: pip install 'audiosep_jax[web]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--port", "70000"), "--port is 70000: give a number from 0 to 65535."),
        (("--max-seconds", "0"), "give a positive number"),
        (("--max-seconds", "nan"), "give a positive number"),
        (("--keep-minutes", "-1"), "give a positive number"),
        (("--max-megabytes", "0"), "is below 1: raise it"),
        (("--max-megabytes", "inf"), "is below 1: raise it"),
        (("--max-waiting", "0"), "is below 1: raise it"),
    ],
)
def test_invalid_limits_are_refused(capsys, options, message):
    assert main.main(["web", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_port_that_is_taken_is_an_error_of_one_sentence(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", sys)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main.main(["web", "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert f"cannot be served at 127.0.0.1, port {port} (Address already in use)" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("host", ["192.0.2.1", "not a host", "x" * 300, "\x1b[31m"])
def test_a_host_that_is_not_of_this_machine_is_an_error_of_one_sentence(capsys, monkeypatch, host):
    monkeypatch.setitem(sys.modules, "gradio", sys)
    assert main.main(["web", "--host", host]) == 2
    error = capsys.readouterr().err
    assert "choose another --port or --host" in error
    assert "\x1b" not in error
    assert error.count("\n") == 1


def test_the_documented_options_are_those_of_the_command():
    text = (Path(__file__).parents[2] / "docs" / "web.md").read_text("utf-8")
    documented = {
        name: float(value) for name, value in re.findall(r"^\| `--([a-z-]+)` \| (\d+) \|", text, re.M)
    }
    defaults = {field.name.replace("_", "-"): field.default for field in dataclasses.fields(WebArgs)}
    assert documented == {name: value for name, value in defaults.items() if name.startswith(("max", "keep"))}
    limits = Limits()
    assert (limits.sound_seconds, limits.upload_bytes) == (
        documented["max-seconds"],
        1e6 * documented["max-megabytes"],
    )
    assert (limits.waiting, limits.work_seconds) == (
        documented["max-waiting"],
        documented["max-work-seconds"],
    )
    assert limits.kept_seconds == 60 * documented["keep-minutes"]
    assert f"at most {limits.query_letters:,} letters" in text
