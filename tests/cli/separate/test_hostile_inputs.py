"""Hostile inputs to `audiosep separate`: a right result or one clear sentence; no crash, hang or litter."""

import io
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import separation_models
import soundfile
from hostile_inputs import EITHER, KINDS, REFUSED, RIGHT, cases

import audiosep_jax
from audiosep_jax.cli.main import main
from audiosep_jax.separation.estimator import Estimator

SECONDS = 120
SEED = 20_261_123


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The random model in the place of the bundled one."""
    with pytest.MonkeyPatch.context() as patch:
        model = separation_models.random_model()
        separation_models.register(patch, separation_models.LetterCounts())
        patch.setattr(audiosep_jax, "load", lambda checkpoint: model)
        patch.chdir(tmp_path_factory.mktemp("here"))
        yield tmp_path_factory.mktemp("hostile")


def called(case, monkeypatch):
    """Runs the command within this process; returns the status, what it printed and what it complained of."""
    out, errors = io.BytesIO(), io.StringIO()
    stdout = io.TextIOWrapper(out, "utf-8", write_through=True)  # closes what it wraps when it goes

    def late(*_):
        raise TimeoutError(f"{case.kind} takes more than {SECONDS} s")

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(case.stdin or b""))))
        patch.setattr(sys, "stdout", stdout)
        patch.setattr(sys, "stderr", errors)
        usual = signal.signal(signal.SIGALRM, late)
        signal.alarm(SECONDS)
        try:
            status = main(["separate", *case.arguments])
        except SystemExit as error:
            status = error.code
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, usual)
    return status, out.getvalue(), errors.getvalue()


def listing(place):
    """All that lies below a folder; links are not followed."""
    return {Path(folder, name) for folder, *inside in os.walk(place) for names in inside for name in names}


def check_listing(place, before):
    """Nothing is lost, and nothing new is there but whole results, a record of each, and their folders."""
    after = listing(place)
    assert not before - after
    new = {path for path in after - before if path.is_symlink() or not path.is_dir()}
    files = {path for path in separated(place) if path.is_file()}
    made = {path for path in files if path.name.endswith(".estimate.wav")}
    names = {path: path.name.removesuffix(".estimate.wav") for path in made}
    assert {path.with_name(f"{name}.residual.wav") for path, name in names.items()} == files - made
    assert new | before == files | before | {
        path.parent / ".audiosep" / f"{name}.json" for path, name in names.items()
    }
    folders = {path.relative_to(place).parts[0] for path in after - before - new}
    assert folders <= {"separated", "out"}


def check(case, place, before, status, out, errors):
    """Returns "right" or "refused"; anything else is an assertion."""
    assert "Traceback" not in errors
    check_listing(place, before)
    if status == 2:
        assert case.expected != RIGHT, errors
        said = [line for line in errors.splitlines() if line.startswith("audiosep: error: ")]
        parsed = "rror" in errors and not said  # by tyro: the arguments themselves
        assert said or parsed, errors
        for line in said:
            assert line.endswith("."), line
            assert len(line) < 8000, line[:300]
            assert line.isprintable(), line
        files = [path for path in separated(place) if path.is_file()]
        assert len(files) == 2 * len(case.sounds) * (case.kind.endswith("some fail"))
        for path in case.sounds if files else ():
            check_sum(path, files)
        return REFUSED
    assert status == 0, errors
    assert case.expected != REFUSED, errors
    if case.stdin is not None:
        if case.expected == RIGHT:
            check_pipe(case.stdin, out)
        return RIGHT
    files = separated(place)
    assert len(files) == 2 * case.queries * len(case.sounds)
    assert len(out.splitlines()) >= len(files)
    for path in case.sounds:
        mine = files if len(case.sounds) == 1 else [file for file in files if file.name.startswith(path.stem)]
        check_sum(path, mine)
    return RIGHT


def separated(place):
    results = re.compile(r"\.(estimate|residual)\.wav$")
    folders = [folder for folder in (place / "separated", place / "out") if folder.is_dir()]
    return sorted(path for folder in folders for path in folder.rglob("*") if results.search(path.name))


def read(path, kind):
    # Not by name: python-soundfile does not take all that are possible.
    data, rate = soundfile.read(io.BytesIO(path.read_bytes()), dtype=kind, always_2d=True)
    return data, rate


def check_sum(path, files):
    """Every estimate and its residual are finite, have the rate and the shape of the sound, and sum to it."""
    info = soundfile.info(io.BytesIO(path.read_bytes()))
    ends = (".estimate.wav", ".residual.wav")
    estimates = [file for file in files if file.name.endswith(ends[0])]
    pairs = [(file, file.with_name(file.name.removesuffix(ends[0]) + ends[1])) for file in estimates]
    assert pairs
    exact = re.fullmatch(r"PCM_[SU]?\d+", info.subtype)
    for pair in pairs:
        if exact:
            whole = read(path, "int32")
            (estimate, rate), (residual, _) = (read(file, "int32") for file in pair)
            np.testing.assert_array_equal(estimate + residual, whole[0])
        else:
            whole = read(path, "float64")
            (estimate, rate), (residual, _) = (read(file, "float64") for file in pair)
            assert np.isfinite(estimate).all()
            assert np.isfinite(residual).all()
            floating = info.subtype in ("FLOAT", "DOUBLE")
            wanted = whole[0].astype(np.float32) if floating else np.clip(whole[0], -1, 1 - 2**-23)
            step = 2**-23 * max(np.abs(wanted).max(), 0 if floating else 1)
            assert np.abs(estimate + residual - wanted).max() <= 1.01 * step + 1e-44
        assert rate == whole[1]
        assert estimate.shape == whole[0].shape


def check_pipe(sent, came):
    before, rate = soundfile.read(io.BytesIO(sent), always_2d=True)
    after, same = soundfile.read(io.BytesIO(came), always_2d=True)
    assert rate == same
    assert before.shape == after.shape
    assert np.isfinite(after).all()


def run(count, seed, folder, monkeypatch):
    counts: Counter = Counter()
    for place, case in cases(count, seed, folder):
        monkeypatch.chdir(place)
        before = listing(place)
        status, out, errors = called(case, monkeypatch)
        try:
            counts[check(case, place, before, status, out, errors)] += 1
        except Exception as error:
            raise AssertionError(f"{case.kind}: {case.arguments!r:.300} → {status}, {errors:.500}") from error
    return counts


def test_a_sample_of_hostile_inputs(hostile, monkeypatch):
    monkeypatch.setattr(Estimator, "process", separation_models.halved)
    counts = run(2 * len(KINDS), SEED, hostile / "sample", monkeypatch)
    assert counts[RIGHT] > 15
    assert counts[REFUSED] > 25
    assert not list(Path("/tmp").glob("escaped*"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_hostile_inputs(hostile, monkeypatch, capsys):
    counts = run(1000, SEED + 1, hostile / "thousand", monkeypatch)
    with capsys.disabled():
        print(f"\n1,000 hostile inputs: {dict(counts)}")
    assert sum(counts.values()) == 1000
    assert counts[RIGHT] > 300
    assert counts[REFUSED] > 400


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_hostile_inputs_to_real_processes(tmp_path):
    """One of each kind; with the bundled model, and nothing in the process but the command."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    counts: Counter = Counter()
    for place, case in cases(len(KINDS), SEED + 2, tmp_path):
        if any("\0" in argument for argument in case.arguments):
            continue  # no process can be given it
        before = listing(place)
        finished = subprocess.run(
            [sys.executable, "-m", "audiosep_jax.cli.main", "separate", *case.arguments],
            input=case.stdin or b"",
            capture_output=True,
            cwd=place,
            env=environment,
            timeout=600,
            check=False,
        )
        errors = finished.stderr.decode("utf-8", "backslashreplace")
        counts[check(case, place, before, finished.returncode, finished.stdout, errors)] += 1
    assert counts[RIGHT] > 8
    assert counts[REFUSED] > 8
    assert EITHER not in counts
