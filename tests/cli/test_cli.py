"""The dispatcher: help, version, mistakes, exit statuses, and imports that it must avoid."""

import gc
import signal
import subprocess
import sys
import threading
import time
import types

import pytest

import audiosep_jax
from audiosep_jax.cli import main
from audiosep_jax.errors import AudioSepError


def command_that(monkeypatch, behaviour):
    """Replaces `audiosep evaluate` by another command."""
    import dataclasses

    @dataclasses.dataclass(frozen=True)
    class EvaluateArgs:
        """Measure."""

        number: int = 1
        """How many."""

    module = types.ModuleType("audiosep_jax.cli.evaluate")
    module.__dict__.update(EvaluateArgs=EvaluateArgs, run=behaviour)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def raising(error):
    def run(args):
        raise error

    return run


def test_help_and_version(capsys):
    assert main.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in ("separate", "prepare", "train", "evaluate"):
        assert f"\n  {command} " in shown
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out == f"audiosep {audiosep_jax.__version__}\n"
    assert main.main([]) == 2
    assert "usage: audiosep" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["seperate", "a.wav"], "there is no command 'seperate': did you mean separate?"),
        (["sing"], f"there is no command 'sing': choose one of {', '.join(main.COMMANDS)}."),
        (["--verbose"], "there is no option '--verbose'"),
    ],
)
def test_unknown_commands_are_named(arguments, said, capsys):
    assert main.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("audiosep: error: ")
    assert said in error


def test_a_command_gets_its_arguments_and_gives_the_status(monkeypatch):
    command_that(monkeypatch, lambda args: args.number)
    assert main.main(["evaluate"]) == 1
    assert main.main(["evaluate", "--number", "7"]) == 7
    with pytest.raises(SystemExit) as exit_:
        main.main(["evaluate", "--number", "many"])
    assert exit_.value.code == 2


def test_a_users_mistake_is_one_line_and_debug_shows_where(monkeypatch, capsys):
    command_that(monkeypatch, raising(AudioSepError("a.wav is empty: record something.")))
    assert main.main(["evaluate"]) == 2
    assert capsys.readouterr().err == "audiosep: error: a.wav is empty: record something.\n"
    for arguments in (["--debug", "evaluate"], ["evaluate", "--debug"]):
        assert main.main(arguments) == 2
        shown = capsys.readouterr().err
        assert "Traceback" in shown
        assert shown.endswith("audiosep: error: a.wav is empty: record something.\n")


def test_control_characters_in_errors_are_escaped(monkeypatch, capsys):
    command_that(monkeypatch, raising(AudioSepError("no \x1b[31mred\x07\nsecond line, but naïve 音.")))
    assert main.main(["evaluate"]) == 2
    assert capsys.readouterr().err == "audiosep: error: no \\x1b[31mred\\x07\\nsecond line, but naïve 音.\n"


def test_ctrl_c_is_130_and_a_bug_keeps_its_traceback(monkeypatch, capsys):
    command_that(monkeypatch, raising(KeyboardInterrupt()))
    assert main.main(["evaluate"]) == 130
    assert capsys.readouterr().err == "audiosep: interrupted\n"
    command_that(monkeypatch, raising(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError):
        main.main(["evaluate"])


def test_sigterm_is_143_after_the_cleaning_up(monkeypatch, capsys):
    cleaned = []

    def run(args):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)  # as `timeout` does; not to stop what follows
            cleaned.append(True)

    command_that(monkeypatch, run)
    assert main.main(["evaluate"]) == 143
    assert capsys.readouterr().err == "audiosep: terminated\n"
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_that_is_lost_is_raised_again(monkeypatch, capsys, number, status):
    """Python drops an exception in a callback of its garbage collector; JAX has such a callback."""
    came = []

    def collected(phase, _info):
        if not came:
            came.append(phase)
            signal.raise_signal(number)
            sum(range(10))  # Python handles signals between its own instructions

    def run(args):
        gc.collect()
        time.sleep(30)

    command_that(monkeypatch, run)
    # A shell that runs the tests in the background has SIGINT ignored.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.callbacks.append(collected)
    try:
        assert main.main(["evaluate"]) == status
    finally:
        gc.callbacks.remove(collected)
        signal.signal(signal.SIGINT, usual)
    assert came
    assert "ignored" not in capsys.readouterr().err


def test_before_its_first_step_sigterm_ends_a_training_as_usual(monkeypatch):
    monkeypatch.setattr(main, "_dispatch", lambda _: signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    assert main.main(["train"]) is True
    assert main.main(["evaluate"]) is False


def test_foreign_handlers_and_other_threads_are_left_alone(monkeypatch):
    seen, statuses = [], []
    command_that(monkeypatch, lambda args: signal.raise_signal(signal.SIGTERM) or 0)
    signal.signal(signal.SIGTERM, lambda *_: seen.append(True))
    try:
        assert main.main(["evaluate"]) == 0
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert seen == [True]
    command_that(monkeypatch, lambda args: 0)
    thread = threading.Thread(target=lambda: statuses.append(main.main(["evaluate"])))
    thread.start()
    thread.join()
    assert statuses == [0]


HEAVY = "{'jax', 'flax', 'numpy', 'tyro', 'soundfile', 'tensorflow', 'torch', 'rich', 'grain'}"


@pytest.mark.parametrize("call", ["audiosep_jax.cli.main.main(['--help'])", "audiosep_jax.__version__"])
def test_help_and_the_package_import_nothing_heavy(call):
    code = f"import sys, audiosep_jax.cli.main; {call}; print(sorted({HEAVY} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.endswith("[]\n")


def test_a_commands_help_does_not_wait_for_jax():
    code = (
        "import sys, audiosep_jax.cli.main\n"
        "try: audiosep_jax.cli.main.main(['separate', '--help'])\n"
        "except SystemExit as error: print(error.code, 'jax' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "--query" in shown
    assert shown.endswith("0 False\n")


def test_public_names_are_there_and_others_are_not():
    for name in audiosep_jax.__all__:
        assert getattr(audiosep_jax, name) is not None
        assert name in dir(audiosep_jax)
    with pytest.raises(AttributeError, match="nothing"):
        audiosep_jax.nothing  # noqa: B018
