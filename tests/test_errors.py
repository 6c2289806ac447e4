"""Kinds of errors: each is an `AudioSepError`, described in a sentence, and has an exit status."""

import inspect
import signal

import pytest

from audiosep_jax import errors
from audiosep_jax.cli import main

KINDS = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.AudioSepError)
]


def raising(monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr(main, "_dispatch", fail)
    return main.main(["separate"])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_command_line_gives_every_kind_its_exit_status(kind, monkeypatch, capsys):
    status = raising(monkeypatch, kind("a.wav does not exist: give a sound file."))
    assert status == kind.status == (1 if kind is errors.TransientError else 2)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "audiosep: error: a.wav does not exist: give a sound file.\n"


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_work_that_a_signal_stopped_has_the_status_of_shells(number, status, word, monkeypatch, capsys):
    assert raising(monkeypatch, errors.Stopped(number)) == status
    assert capsys.readouterr().err == f"audiosep: {word}\n"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_says_what_it_means(kind):
    text = inspect.getdoc(kind)
    assert text
    assert text.splitlines()[0].endswith(".")
    assert kind is errors.AudioSepError or text != inspect.getdoc(errors.AudioSepError)


def test_other_errors_are_defects_and_keep_their_traceback(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        raising(monkeypatch, ZeroDivisionError())


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (1, "0"), (5, "0; 1; 2; 3; 4"), (6, "0; 1; 2; 3; 4 and 1 more")]
)
def test_five_names_are_listed(count, text):
    assert errors.listed(range(count), separator="; ") == text


def test_a_strange_text_fits_on_one_line():
    assert errors.printable("a name.wav") == "a name.wav"
    assert errors.printable("two\nlines") == "'two\\nlines'"
    assert errors.shown("x" * 300) == "x" * 200 + "…"
    assert errors.shown(ValueError("bell\a")) == "'bell\\x07'"
