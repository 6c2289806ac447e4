"""Completion scripts that a shell runs: commands, options, values."""

import shutil
import subprocess

import pytest

from audiosep_jax.cli.main import COMMANDS, main

COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
"$(complete -p audiosep | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "audiosep"
    with pytest.MonkeyPatch.context() as patch, path.open("w") as file:
        patch.setattr("sys.stdout", file)
        assert main(["completion", "bash"]) == 0
    return path


def completed(script, *words):
    shell = ["bash", "-c", COMPLETE, "bash", str(script), "audiosep", *words]
    return set(subprocess.run(shell, capture_output=True, text=True, check=True).stdout.split("\n")) - {""}


def test_bash_completes_commands_options_and_values(script):
    assert completed(script, "") >= {name for name in COMMANDS if " " not in name}
    assert completed(script, "se") == {"separate"}
    assert completed(script, "separate", "--with") == {"--without"}
    assert completed(script, "separate", "x.wav", "--preset", "q") == {"quality"}
    assert completed(script, "train", "--work") == {"--workdir"}  # whose help has two lines
    assert "report" in completed(script, "sweep", "re")
    assert "--help" in completed(script, "sweep", "report", "--he")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_scripts_are_sound(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(f"'{word}'" in script for name in COMMANDS for word in name.split())
    assert "--channel-mask" in script
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_tcsh_needs_a_package_and_says_so(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["completion", "tcsh"]) == 2
    assert "pip install shtab" in capsys.readouterr().err


def test_another_shell_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["completion", "csh"])
    assert ended.value.code == 2
    assert "bash" in capsys.readouterr().err
