"""Commands of all guides parse; flags, fields, links and shell of the guide for pods are right."""

import dataclasses
import math
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import tyro

from audiosep_jax.cli.main import COMMANDS, command_module
from audiosep_jax.config import ExperimentConfig
from audiosep_jax.config.loading import apply_overrides
from audiosep_jax.utils.serialization import to_dict

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "tpu_pods.md"
TEXT = GUIDE.read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
SHELL = [code for language, code in BLOCKS if language in ("sh", "bash")]


def audiosep_commands(shell):
    """Every `audiosep …` of shell blocks, up to the end of its command, as words."""
    lines = "".join(shell).replace("\\\n", " ").splitlines()
    ours = re.compile(rf"\baudiosep (?:{'|'.join(COMMANDS)}) [^&;|#>]*")
    found = [found for line in lines for found in ours.findall(line)]
    # A command inside an option of another command ends with that option's quotation mark.
    return [shlex.split(one.removesuffix('"') if one.count('"') % 2 else one) for one in found]


def commands_of_guides():
    """Every `audiosep …` in a block of shell, or of no stated language, in docs/ and the model card."""
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "audiosep_jax" / "assets").glob("*/README.md")]
    blocks = [
        code
        for page in pages
        for language, code in re.findall(
            r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
        )
        if language in ("", "sh", "bash")
    ]
    words = audiosep_commands(blocks)
    return sorted({tuple(each) for each in words})


def test_commands_are_found():
    assert {language for language, _ in BLOCKS} == {"sh", "bash", "dockerfile"}
    assert {words[1] for words in audiosep_commands(SHELL)} >= {"train", "compile", "prepare"}
    assert len(audiosep_commands(SHELL)) >= 6
    assert len(commands_of_guides()) >= 40
    assert {words[1] for words in commands_of_guides()} >= {*COMMANDS} - {"web", "sweep report", "completion"}


@pytest.mark.parametrize("code", SHELL, ids=range(len(SHELL)))
def test_shell_is_sound(code):
    result = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("words", commands_of_guides(), ids=" ".join)
def test_commands_parse(words):
    _, name, *arguments = words
    if arguments and f"{name} {arguments[0]}" in COMMANDS:
        name = f"{name} {arguments.pop(0)}"
    module = command_module(name)
    parsed = tyro.cli(getattr(module, f"{name.title().replace(' ', '')}Args"), args=arguments)
    assert all((ROOT / word).is_file() for word in arguments if word.endswith(".py"))
    if hasattr(parsed, "set"):
        apply_overrides(ExperimentConfig(), parsed.set)  # every field exists and takes its value


def test_named_fields_and_flags_exist():
    config = to_dict(ExperimentConfig())
    parts = "|".join(part for part, fields in config.items() if isinstance(fields, dict))
    fields = set(re.findall(rf"\b({parts})\.(\w+)", TEXT))
    assert len(fields) > 10
    assert not {f"{part}.{name}" for part, name in fields if name not in config[part]}
    modules = [command_module(name) for name in ("train", "compile")]
    options = {
        "--" + field.name.replace("_", "-")
        for module, name in zip(modules, ("Train", "Compile"), strict=True)
        for field in dataclasses.fields(getattr(module, f"{name}Args"))
    }
    ours = {
        "--coordinator",
        "--process-index",
        "--process-count",
        "--wait-seconds",
        "--workdir",
        "--topology",
    }
    assert ours <= options
    assert all(name in TEXT for name in ours)


def test_links_lead_to_files():
    targets = re.findall(r"\]\(([^)#]+)", TEXT)
    assert not [name for name in targets if "://" not in name and not (GUIDE.parent / name).is_file()]


def test_the_table_of_throughput_agrees_with_itself():
    """Batch, chips, step time and clips per second of every row, to the digits that it gives."""
    rows = [
        line.strip("| ").split(" | ") for line in TEXT.splitlines() if re.match(r"\| `\w+\.py` \| v", line)
    ]
    assert len(rows) >= 2
    for _, place, batch, clips, _, _, step, rate, _ in rows:
        chips = math.prod(map(int, place.split(":")[1].split("x")))
        batch = int(batch.replace(",", ""))
        assert batch == int(clips) * chips, place
        seconds = float(step.removesuffix(" ms")) / 1000
        assert float(rate.replace(",", "")) == pytest.approx(batch / seconds, rel=0.01), place


def test_the_batch_job_requeues_after_signals_and_stops_at_mistakes(tmp_path):
    """The script of SLURM, with a training that ends with each of the exit codes."""
    (script,) = [code for code in SHELL if "#SBATCH" in code]
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text("")
    (tmp_path / "srun").write_text('#!/bin/sh\nexit "$ENDS"\n')
    (tmp_path / "scontrol").write_text('#!/bin/sh\necho "$@" >> requeued\n')
    for name in ("srun", "scontrol"):
        (tmp_path / name).chmod(0o755)
    for ends, starts, again in [
        ("0", "", False),
        ("2", "", False),
        ("1", "3", True),
        ("130", "", True),
        ("143", "49", True),
        ("143", "50", False),
        ("137", "", True),
    ]:
        environment = {
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "ENDS": ends,
            "SCRATCH": "/s",
            "SLURM_JOB_ID": "7",
        }
        if starts:
            environment["SLURM_RESTART_COUNT"] = starts
        result = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=False)
        assert result.returncode == int(ends)
        requeued = tmp_path / "requeued"
        assert requeued.exists() == again, (ends, starts)
        if again:
            assert requeued.read_text() == "requeue 7\n"
            requeued.unlink()


def test_the_service_unit_never_repeats_a_mistake():
    (script,) = [code for code in SHELL if "systemctl start" in code and "[Service]" in code]
    unit = script.split("<<UNIT\n")[1].split("UNIT\n")[0]
    assert "Restart=on-failure\n" in unit
    assert "RestartPreventExitStatus=2\n" in unit
    assert unit.index("StartLimitBurst") < unit.index("[Service]")  # systemd reads it there alone
