"""The train step, compiled for TPU slices by the TPU compiler; no TPU is needed, libtpu is."""

import io
import pickle
import re
from pathlib import Path

import pytest
import tpu_steps
from experiment_files import write_experiment

from audiosep_jax.models import separator

pytestmark = pytest.mark.tpu

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return write_experiment(tmp_path_factory.mktemp("experiment") / "small.py", tpu_steps.SMALL)


@pytest.fixture(scope="module")
def compiled(experiment, tmp_path_factory):
    """Exit status, report and standard error of the small model on four chips, and its executable."""
    folder = tmp_path_factory.mktemp("four")
    saved = folder / "step.exe"
    return *tpu_steps.compile_in_a_process(experiment, folder, "--save", str(saved)), saved


def shapes_of(report):
    """Shape and operation of the largest arrays that move between chips."""
    found = [re.match(r"[\w-]+ \w+\[([\d, ]*)\] ?(.*)", line) for line in report["largest_collectives"]]
    return [(tuple(int(size) for size in match[1].split(",") if size.strip()), match[2]) for match in found]


def parameter_shapes(config):
    flat = separator.flat_shapes(config)
    return {tuple(sorted(shape)) for path, shape in flat.items() if path[0] == "params"}


def test_the_small_step_fits_and_its_numbers_agree(compiled):
    status, report, errors, _ = compiled
    assert status == 0, errors
    assert not errors
    assert (report["chips"], report["batch"], report["fits"]) == (4, 8, True)
    parts = ("argument_bytes", "output_bytes", "temporary_bytes", "program_bytes")
    assert report["total_hbm_bytes"] == sum(report[name] for name in parts) - report["alias_bytes"]
    assert report["headroom_bytes"] == report["hbm_bytes_capacity"] - report["total_hbm_bytes"] > 0
    # The state is donated: but for the metrics, all of the output lies where the old state lay.
    assert report["output_bytes"] - report["alias_bytes"] < 10_000
    assert report["roofline"]["hbm_seconds"] == pytest.approx(report["hbm_bytes_per_example"] * 2 / 819e9)
    assert report["versions"]["libtpu"]


def test_only_gradients_and_statistics_go_between_chips(compiled):
    report = compiled[1]
    assert set(report["collectives"]) == {"all-reduce"}
    sums = report["collectives"]["all-reduce"]
    # Every parameter's gradient once, and for every BatchNorm its statistics and their gradients.
    assert 0.99 * 4 * report["parameters"] < sums["bytes"] < 4 * report["parameters"] + 20_000
    known = parameter_shapes(tpu_steps.SMALL.model)
    for shape, operation in shapes_of(report):
        # The compiler may sum statistics over bins after it has summed them over chips.
        assert tuple(sorted(shape)) in known or "/bn/" in operation, (shape, operation)


def test_fsdp_gathers_parameters_and_nothing_else(experiment, tmp_path):
    status, report, errors = tpu_steps.compile_in_a_process(
        experiment, tmp_path, "--set", "mesh.data=1", "mesh.fsdp=4"
    )
    assert status == 0, errors
    assert set(report["collectives"]) <= {"all-reduce", "all-gather", "reduce-scatter"}
    gathered = report["collectives"]["all-gather"]["bytes"]
    assert 0 < gathered <= 2 * 4 * report["parameters"]
    samples = tpu_steps.SMALL.mixture.segment_seconds * tpu_steps.SMALL.model.sample_rate_hz
    assert all(max(shape, default=0) < samples for shape, _ in shapes_of(report))


def test_a_step_that_does_not_fit_says_by_how_much(experiment, tmp_path):
    status, report, errors = tpu_steps.compile_in_a_process(
        experiment, tmp_path, "--batch", "32768", "--save", str(tmp_path / "step.exe")
    )
    assert status == 1, errors
    assert report["fits"] is False
    assert report["hbm_bytes_capacity"] == int(15.75 * 2**30)
    assert report["headroom_bytes"] == report["hbm_bytes_capacity"] - report["total_hbm_bytes"] < -(2**30)
    assert not (tmp_path / "step.exe").exists()


def test_the_saved_executable_holds_the_program_and_the_devices(compiled):
    """Without a TPU only the program and its devices can be checked."""
    _, report, _, saved = compiled
    magic, _, body = saved.read_bytes().split(b"\n", 2)
    assert magic == b"audiosep executable 1"
    payload, in_tree, out_tree = pickle.loads(body)
    programs, devices = [], set()

    class Reader(pickle.Unpickler):
        def persistent_load(self, pid):
            if pid[0] == "exec":
                programs.append(pid[1])
            elif pid[0] == "device":
                devices.add(pid[1])
            return

    with pytest.raises(AttributeError):
        Reader(io.BytesIO(payload)).load()  # the devices are missing, after the program
    assert devices == {0, 1, 2, 3}
    assert [len(program) for program in programs] == [pytest.approx(report["program_bytes"], rel=0.9)]
    assert in_tree.num_leaves > out_tree.num_leaves > 10


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v5e:3x3", "the TPU compiler knows no such slice"),
        ("v5e:2x2", "train.batch_size 9 cannot be split over 4 devices"),
    ],
)
def test_mistakes_are_one_sentence(experiment, tmp_path, topology, message):
    status, report, errors = tpu_steps.compile_in_a_process(
        experiment, tmp_path, "--topology", topology, "--batch", "9"
    )
    assert (status, report) == (2, {})
    assert message in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("name", ["v4:2x2x1", "v5e:1x1", "v5e:2x4", "v5p:2x2x2", "v6e:4x4", "tpu7x:2x2x1"])
def test_the_compiler_knows_the_slices_of_the_table(name, tmp_path, experiment):
    """Compiles until a batch that cannot be split is refused."""
    status, _, errors = tpu_steps.compile_in_a_process(
        experiment, tmp_path, "--topology", name, "--batch", "9973", "--set", "execution.microbatches=2"
    )
    assert status == 2
    assert "train.batch_size 9973 cannot be split over" in errors


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("experiment", "topology"), [("base", "v5e:2x2"), ("paper", "v5e:2x4")])
def test_a_batch_of_96_fits_with_gradients_and_statistics_alone(experiment, topology, tmp_path):
    """Of the released model on four chips, of the article's on eight."""
    status, report, errors = tpu_steps.compile_in_a_process(
        EXPERIMENTS / f"{experiment}.py", tmp_path, "--topology", topology, "--batch", "96"
    )
    assert status == 0, errors
    assert not errors
    assert (report["fits"], report["batch"]) == (True, 96)
    assert set(report["collectives"]) == {"all-reduce"}
    sums = report["collectives"]["all-reduce"]
    # Gradients of folded kernels are a little larger than those of the kernels.
    assert 0.99 * 4 * report["parameters"] < sums["parameter_bytes"] < 1.1 * 4 * report["parameters"]
    assert sums["vector_bytes"] < 1e6
    assert report["hbm_bytes_per_example"] < 10e9
    assert report["roofline"]["compute_seconds"] < report["roofline"]["hbm_seconds"]
