"""The check of an export finds values beyond its limits, missing values and failed processes."""

import functools

import drawn_models
import jax
import numpy as np
import pytest

from audiosep_jax.checkpoints import folder as checkpoints
from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals import metrics
from audiosep_jax.export import check, check_sounds, exporter

SAMPLES = 800


@pytest.fixture
def compared(checkpoint, monkeypatch):
    """Compares a changed result of the export with a live model that halves its input."""
    loaded = checkpoints.load(checkpoint)
    monkeypatch.setattr(check.separator, "apply", lambda config, variables, waveform, condition: waveform / 2)
    monkeypatch.setattr(
        check.separator,
        "core",
        lambda config, variables, magnitude, condition: jax.numpy.full((*magnitude.shape, 3), 0.5),
    )

    def compare(change, *, function="whole", target=None, si_sdr_db=metrics.si_sdr_db):
        def run_fresh(folder, export_format, cases, **options):
            live = {"whole": lambda a: a / 2, "core": lambda a: np.full((*a.shape, 3), 0.5, np.float32)}
            return [(change(live[name](signal)), np.ones(1)) for name, signal, _ in cases]

        monkeypatch.setattr(check, "run_fresh", run_fresh)
        mixture = drawn_models.noise(2, SAMPLES)
        one = check_sounds.Material("x", mixture, drawn_models.noise(2, 5), target)
        manifest = {"format": "onnx", "functions": {function: {}}}
        return list(check.compare(checkpoint, manifest, loaded, [one], si_sdr_db=si_sdr_db))

    return compare


def changed(result, change, place=(1, 7)):
    result = result.copy()
    result[place] += np.float32(change)
    return result


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("export_format", "limit"), [("stablehlo", 1e-5), ("onnx", 1e-4)])
def test_one_sample_just_beyond_the_limit_is_found(export_format, limit, sign, compared):
    for factor, count in ((0.98, 0), (1.02, 1)):
        comparisons = compared(functools.partial(changed, change=sign * factor * limit))
        assert len(check.problems(export_format, comparisons)) == count


@pytest.mark.parametrize(("export_format", "limit"), [("stablehlo", 1e-5), ("onnx", 1e-4)])
def test_one_value_of_the_mask_just_beyond_the_limit_is_found(export_format, limit, compared):
    for factor, count in ((0.98, 0), (1.02, 1)):
        # Where the mixture is loud or not: the mask itself is compared.
        change = functools.partial(changed, change=factor * limit, place=(1, 7, 3, 0))
        comparisons = compared(change, function="core")
        assert len(check.problems(export_format, comparisons)) == count


@pytest.mark.parametrize("export_format", ["stablehlo", "onnx"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_hundredth_of_a_decibel_is_the_limit_of_every_mixture(export_format, sign, compared):
    for decibel, count in ((0.0098, 0), (0.0102, 1)):
        # Of one mixture of two: their mean differs by half as much.
        scores = iter([np.array([10.0, 10.0]), np.array([10.0, 10.0 + sign * decibel])])
        comparisons = compared(
            lambda result: result,
            target=np.ones((2, SAMPLES), np.float32),
            si_sdr_db=lambda target, estimate, scores=scores: next(scores),
        )
        found = check.problems(export_format, comparisons)
        assert len(found) == count
        assert all("SI-SDR differs by 0.01 dB" in one for one in found)


@pytest.mark.parametrize("function", ["whole", "core"])
@pytest.mark.parametrize(
    "change",
    [
        lambda result: np.full_like(result, np.nan),
        lambda result: changed(result, np.nan, place=(1, 7, 3, 1)[: result.ndim]),
        lambda result: changed(result, -np.inf, place=(1, 7, 3, 0)[: result.ndim]),
    ],
    ids=["all NaN", "one NaN", "one infinity"],
)
def test_nan_and_infinity_exceed_every_limit(function, change, compared):
    (one,) = compared(change, function=function)
    assert not one.difference <= 1e9
    assert len(check.problems("onnx", [one])) == 1


def test_nan_is_found_with_a_target_too(compared):
    target = drawn_models.noise(2, SAMPLES, seed=3)
    found = check.problems("onnx", compared(lambda result: np.full_like(result, np.nan), target=target))
    assert len(found) == 2
    assert "SI-SDR differs by nan dB" in found[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda result: result[:1], "returned float32 [1, 800], expected is float32 [2, 800]"),
        (lambda result: result[:, None], "returned float32 [2, 1, 800], expected is float32 [2, 800]"),
        (lambda result: result.astype(np.float64), "returned float64 [2, 800], expected is float32 [2, 800]"),
    ],
)
def test_another_shape_or_type_is_a_problem(change, said, compared):
    (found,) = check.problems("onnx", compared(change))
    assert found.startswith("whole, x, batch 2: ")
    assert said in found


def test_nothing_compared_is_no_success():
    assert check.problems("onnx", []) == ["nothing was compared"]


@pytest.mark.parametrize(
    ("kind", "package"),
    [("stablehlo", "flax"), ("onnx", "jax"), ("onnx", "audiosep_jax.models.inference.folded")],
)
def test_the_fresh_process_refuses_what_an_export_must_not_need(
    kind, package, exported, tmp_path, monkeypatch
):
    script = tmp_path / "needy.py"
    script.write_text(f"import {package}\ndef load(function, folder): return lambda a, b: a\n")
    real = exporter.runner
    monkeypatch.setattr(check, "runner", lambda name: script if name == kind else real(name))
    with pytest.raises(AudioSepError, match=f"ImportError: {package.split('.')[0]} is refused"):
        check.run_fresh(exported[kind], kind, [("whole", np.zeros((1, 8)), np.zeros((1, 5)))])


@pytest.mark.parametrize("kind", ["stablehlo", "onnx"])
def test_the_reason_of_a_failure_is_the_exception_itself(kind, exported):
    # A window of another length, which the runtime refuses with a message of many lines.
    case = ("whole", np.zeros((1, 300), np.float32), np.zeros((1, 5), np.float32))
    with pytest.raises(AudioSepError) as caught:
        check.run_fresh(exported[kind], kind, [case])
    said = str(caught.value)
    assert "does not run in a process of its own: " in said
    assert "\n" not in said
    assert "internal frames" not in said
    assert "300" in said


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9 ended it"),
        ("import os; os._exit(3)", "status 3"),
        ("print('noise', end=''); raise ValueError('first\\n\\nsecond')", "ValueError: first second"),
        (
            "import sys; print('a.B_Error: why', 'notice', sep='\\n', file=sys.stderr); sys.exit(1)",
            "a.B_Error",
        ),
    ],
)
def test_a_failed_process_says_how_it_ended(body, said, exported, tmp_path, monkeypatch):
    script, real = tmp_path / "bad.py", exporter.runner
    script.write_text(body)
    monkeypatch.setattr(check, "runner", lambda name: script if name == "onnx" else real(name))
    with pytest.raises(AudioSepError, match=f"{said}"):
        check.run_fresh(exported["onnx"], "onnx", [("whole", np.zeros((1, 8)), np.zeros((1, 5)))])


def test_slow_calls_are_few_and_every_case_is_reported(exported, tmp_path, monkeypatch):
    script, real = tmp_path / "slow.py", exporter.runner
    script.write_text(
        "import time\ndef load(function, folder): return lambda a, b: time.sleep(float(b[0])) or a\n"
    )
    monkeypatch.setattr(check, "runner", lambda name: script if name == "onnx" else real(name))
    cases = [("whole", np.zeros(1), np.full(1, seconds)) for seconds in (0.0, 0.1, 0.4)]
    told = []
    ran = check.run_fresh(exported["onnx"], "onnx", cases, done=told.append, max_seconds=0.3)
    assert told == [0, 1, 2]
    calls = [len(seconds) for _, seconds in ran]
    assert calls[0] == 7
    assert 1 <= calls[1] <= 3
    assert calls[2] == 1


def test_an_interrupt_ends_the_process(exported):
    def interrupted(index):
        raise KeyboardInterrupt

    case = ("whole", np.zeros((1, SAMPLES), np.float32), np.zeros((1, 5), np.float32))
    with pytest.raises(KeyboardInterrupt):
        check.run_fresh(exported["onnx"], "onnx", [case] * 2, done=interrupted)


def test_timed_calls_stop_in_time(monkeypatch):
    clock = iter(np.arange(0, 100, 2.0))
    monkeypatch.setattr(check.time, "perf_counter", lambda: next(clock))
    assert [len(check.timed(lambda: jax.numpy.ones(1), max_seconds=most)[1]) for most in (0, 3, 5, 99)] == [
        1,
        1,
        2,
        7,
    ]
