"""`audiosep compile` on the devices of this machine: the report, the executable, and refusals."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from experiment_files import write_experiment

from audiosep_jax.aot import compiled_step, executable, topology
from audiosep_jax.aot.chips import CHIPS
from audiosep_jax.aot.report import Report, make_report, print_report
from audiosep_jax.cli.compile import CompileArgs, run
from audiosep_jax.config import (
    ExecutionConfig,
    ExperimentConfig,
    MixtureConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)
from audiosep_jax.errors import AudioSepError
from audiosep_jax.train import mesh as meshes
from audiosep_jax.train import state as states
from audiosep_jax.train.optimizer import make_optimizer
from audiosep_jax.train.step import batch_like
from audiosep_jax.utils.serialization import from_dict
from data_pipelines.mixtures.pipeline import MixtureBatch

CONFIG = ExperimentConfig(
    name="small",
    model=ModelConfig(
        sample_rate_hz=8000,
        window_length=64,
        hop_length=32,
        encoder_widths=(4, 4),
        condition_size=5,
        unused_tensors=False,
    ),
    mixture=MixtureConfig(segment_seconds=0.125),
    optimizer=OptimizerConfig(warmup_steps=0),
    train=TrainConfig(steps=10, batch_size=2),
)
KEYS = {
    *("topology", "chips", "batch", "fits", "hbm_bytes_capacity", "argument_bytes", "output_bytes"),
    *("alias_bytes", "temporary_bytes", "total_hbm_bytes", "headroom_bytes", "flops_per_example"),
    *("hbm_bytes_per_example", "collectives", "roofline_step_seconds", "examples_per_second", "scaling"),
    *("versions", "config"),
}


@pytest.fixture(scope="module")
def compiled():
    """The step of `CONFIG`, compiled once for all tests."""
    return compiled_step.compile_step(CONFIG, topology.make_topology("local"))


@pytest.fixture
def experiment(tmp_path):
    return write_experiment(tmp_path / "small.py", CONFIG)


@pytest.fixture(autouse=True)
def _same_environment(monkeypatch):
    monkeypatch.setattr(topology, "prepare_environment", lambda name: None)


def refused(wanted=37 * 2**30):
    """The result of `compile_step` if the compiler reports too little memory."""
    mesh = meshes.make_mesh(CONFIG.mesh)
    return compiled_step.Compiled(
        mesh=mesh,
        executable=None,
        wanted_bytes=wanted,
        available_bytes=CHIPS["v5e"].hbm_bytes,
        argument_bytes=1000,
        state_bytes=900,
        parameters=10,
        seconds=1.0,
    )


def arguments(mesh):
    """A state and a batch, with the shardings of a run."""
    optimizer = make_optimizer(CONFIG.optimizer, CONFIG.train.steps)
    state = meshes.put_state(mesh, states.create(CONFIG.model, optimizer, jax.random.key(0)))
    draw = np.random.default_rng(0)
    shapes = batch_like(CONFIG, mesh)
    batch = {name: draw.normal(0, 0.3, leaf.shape).astype(leaf.dtype) for name, leaf in shapes.items()}
    return state, meshes.put_batch(mesh, batch)


def test_the_command_reports_and_saves_a_step_that_computes_the_same(
    compiled, experiment, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(compiled_step, "compile_step", lambda config, where: compiled)
    saved, written = tmp_path / "step.exe", tmp_path / "new" / "report.json"
    args = CompileArgs(experiment=experiment, topology="local", json=written, save=saved)
    assert run(args) == 0
    shown = capsys.readouterr().out
    assert "small, batch 2 on local: compiled." in shown
    assert "TFLOP per example" in shown

    report = json.loads(written.read_text("utf-8"))
    assert set(report) >= KEYS
    assert set(report) == {field.name for field in dataclasses.fields(Report)}
    assert report["fits"] is True
    assert from_dict(ExperimentConfig, report["config"]) == CONFIG
    assert report["versions"]["jax"] == jax.__version__
    assert report["argument_bytes"] == pytest.approx(compiled.argument_bytes, rel=0.1)

    loaded = executable.load_executable(saved, CONFIG, compiled.mesh)
    with jax.set_mesh(compiled.mesh):
        state, metrics = loaded(*arguments(compiled.mesh))
        expected, _ = compiled.executable(*arguments(compiled.mesh))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), jax.device_get(expected))
    assert int(state.step) == 1
    assert np.isfinite(metrics.loss)


def test_a_slice_gets_a_roofline_and_a_prediction(compiled, capsys):
    chip = CHIPS["v5e"]
    where = topology.Topology(name="v5e:2x2", chip=chip, sides=(2, 2), devices=compiled.mesh.devices)
    report = make_report(CONFIG, where, compiled)
    assert report.hbm_bytes_capacity == chip.hbm_bytes
    assert report.headroom_bytes == chip.hbm_bytes - report.total_hbm_bytes > 0
    per_device = CONFIG.train.batch_size / compiled.mesh.size
    assert report.roofline.hbm_seconds == pytest.approx(report.hbm_bytes_per_example * per_device / 819e9)
    assert report.examples_per_second == pytest.approx(2 / report.roofline_step_seconds)
    assert {row.batch for row in report.scaling} == {"per chip", "global"}
    json.dumps(dataclasses.asdict(report), allow_nan=False)
    print_report(report)
    assert "v5e:2x2: fits, 15.75 GiB of each device are left" in capsys.readouterr().out


def test_a_step_that_does_not_fit_shows_the_missing_memory_and_writes_no_executable(
    experiment, tmp_path, monkeypatch, capsys
):
    where = topology.Topology(name="v5e:2x2", chip=CHIPS["v5e"], sides=(2, 2), devices=())
    monkeypatch.setattr(topology, "make_topology", lambda name: where)
    monkeypatch.setattr(compiled_step, "compile_step", lambda config, where: refused())
    written, saved = tmp_path / "report.json", tmp_path / "step.exe"
    args = CompileArgs(experiment=experiment, batch=96, json=written, save=saved)
    assert run(args) == 1
    shown = capsys.readouterr().out
    assert "batch 96 on v5e:2x2: does not fit, 21.25 GiB per device are missing" in shown
    report = json.loads(written.read_text("utf-8"))
    assert (report["fits"], report["headroom_bytes"]) == (False, -int(21.25 * 2**30))
    assert report["temporary_bytes"] is report["collectives"] is report["roofline_step_seconds"] is None
    assert not saved.exists()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Used 36.92G of 15.75G hbm. Exceeded hbm capacity by 21.17G.", (False, 36.92, 15.75)),
        (
            "the total memory required for HLO temporaries (530.91G) exceeds available HBM (15.75G).",
            (True, 530.91, 15.75),
        ),
        ("HLO temporaries (1.5T) exceeds available HBM (96768M)", (True, 1536, 94.5)),
    ],
)
def test_the_compilers_sentences_about_memory(message, expected):
    alone, wanted, available = expected
    found = compiled_step.memory_of(f"RESOURCE_EXHAUSTED: Ran out of memory: {message}")
    assert found == (alone, round(wanted * 2**30), round(available * 2**30))
    assert compiled_step.memory_of("INTERNAL: the compiler has a bug") is None


def test_a_batch_has_the_arrays_of_the_pipeline():
    names = {field.name for field in dataclasses.fields(MixtureBatch)}
    shapes = batch_like(CONFIG, meshes.make_mesh())
    assert set(shapes) <= names
    values = {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in shapes.items()}
    batch = MixtureBatch(step=0, captions=(), modality=(), ids=(), **values)
    assert set(batch.arrays) == set(shapes)


@pytest.fixture
def saved(compiled, tmp_path):
    path = tmp_path / "step.exe"
    path.write_bytes(executable.pack(compiled.executable, CONFIG, compiled.mesh))
    return path


def test_another_config_is_refused_by_name(saved, compiled):
    other = dataclasses.replace(
        CONFIG,
        execution=ExecutionConfig(compute="bfloat16"),
        train=dataclasses.replace(CONFIG.train, batch_size=4, log_every=7),
    )
    with pytest.raises(AudioSepError, match=r"compiled for something else") as caught:
        executable.load_executable(saved, other, compiled.mesh)
    assert 'execution.compute is "bfloat16" here and was "float32"' in str(caught.value)
    assert "train.batch_size is 4 here and was 2" in str(caught.value)
    assert "log_every" not in str(caught.value)


def test_fields_that_no_step_depends_on_may_differ(saved, compiled):
    train = dataclasses.replace(CONFIG.train, log_every=7, keep_checkpoints=5)
    assert executable.load_executable(saved, dataclasses.replace(CONFIG, train=train), compiled.mesh)


def test_other_versions_and_other_code_are_refused(saved, compiled, monkeypatch):
    monkeypatch.setattr(executable, "versions", lambda: {"jax": "9.9", "libtpu": ""})
    monkeypatch.setattr(executable, "_source", lambda: "changed")
    with pytest.raises(AudioSepError, match=r'source is "changed" here.*jax is "9.9" here and was'):
        executable.load_executable(saved, CONFIG, compiled.mesh)


def test_a_damaged_or_foreign_file_is_refused(saved, compiled, tmp_path):
    data = saved.read_bytes()
    for bad, reason in [
        (data[:-1], "is damaged"),
        (data[:-1] + bytes([data[-1] ^ 1]), "is damaged"),
        (data[:60], "is damaged"),
        (b"PK\3\4", "is no executable"),
        (b"", "is no executable"),
    ]:
        saved.write_bytes(bad)
        with pytest.raises(AudioSepError, match=reason):
            executable.load_executable(saved, CONFIG, compiled.mesh)
    with pytest.raises(
        AudioSepError, match=r"nothing does not exist: write it with `audiosep compile --save`"
    ):
        executable.load_executable(tmp_path / "nothing", CONFIG, compiled.mesh)
    with pytest.raises(AudioSepError, match="cannot be read"):
        executable.load_executable(tmp_path, CONFIG, compiled.mesh)


def test_a_batch_that_does_not_divide_is_refused_before_compiling(experiment):
    args = CompileArgs(experiment=experiment, topology="local", batch=3, set=("execution.microbatches=2",))
    with pytest.raises(AudioSepError, match=r"train\.batch_size 3 cannot be split over"):
        run(args)


def test_the_help_answers_without_jax():
    code = (
        "import sys; from audiosep_jax.cli import main\n"
        "try: main.main(['compile', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'jax' not in sys.modules\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "--topology" in shown.stdout
