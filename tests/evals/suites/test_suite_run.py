"""Runs of a suite: exact batches, missing files, and interrupted runs."""

import errno
import functools
import os
import shutil

import benchmark_folders
import jax
import numpy as np
import pytest
import soundfile
from benchmark_models import LetterEncoder, echo_model, random_checkpoint

from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals.suites.definitions import SUITES, rendered_suite
from audiosep_jax.evals.suites.journal import ROWS_FILE, Journal
from audiosep_jax.evals.suites.measure import Scorer
from audiosep_jax.evals.suites.plan import chosen_datasets, list_mixtures
from audiosep_jax.evals.suites.runner import Model, run_suite
from audiosep_jax.models import separator
from audiosep_jax.models.inference import ragged
from audiosep_jax.separation import api

SUITE = SUITES["audiosep"]
RESULTS = ("result.json", "table.md", "classes.md")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    root = tmp_path_factory.mktemp("sounds")
    benchmark_folders.audiosep(root, root, rate=32_000)
    return root


def run(root, out, *names, kinds=(), **changes):
    datasets = chosen_datasets(SUITE, names or ("esc50", "audiocaps"))
    mixtures = list_mixtures(datasets, metadata=root, root=root, kinds=kinds)
    given = {
        "model": echo_model(sample_rate_hz=32_000),
        "name": "echo",
        "checkpoint": "one",
        "batch_size": 4,
        "workers": 2,
    }
    return run_suite(SUITE, datasets, mixtures, out=out, **(given | changes))


def contents(out):
    return {name: (out / name).read_bytes() for name in RESULTS}


def values(result):
    return np.array([list(row.metrics.values()) for row in result.rows])


def test_a_batch_equals_one_file_at_a_time(sounds, tmp_path):
    """The real separator; lengths that differ by dataset and by samples, and short last batches."""
    model = api.load(random_checkpoint(tmp_path / "model"))
    config, encode = model.config.model, LetterEncoder().encode
    compiled = jax.jit(functools.partial(ragged.apply, config))
    plain = jax.jit(functools.partial(separator.apply, config))
    shapes = set()

    def batched(mixture, condition, count):
        shapes.add(mixture.shape)
        return compiled(model.variables, mixture, condition, count)

    def alone(mixture, condition, count):
        estimate = np.zeros_like(mixture)
        samples = int(count[0])
        estimate[:, :samples] = plain(model.variables, mixture[:, :samples], condition)
        return estimate

    common = {"encode": encode, "sample_rate_hz": model.sample_rate_hz}
    rows = functools.partial(ragged.batch_samples, config)
    together = Model(apply=batched, row_samples=rows, **common)
    single = Model(apply=alone, row_samples=lambda samples: samples, **common)
    names = ("esc50", "clotho", "vggsound")
    batches = run(sounds, tmp_path / "together", *names, model=together)
    files = run(sounds, tmp_path / "alone", *names, model=single, batch_size=1, workers=1)
    assert len(files.rows) == 18
    np.testing.assert_allclose(values(batches), values(files), rtol=0, atol=1e-3)
    assert {rows for rows, _ in shapes} == {4}
    assert len(shapes) <= 4


def test_queries_of_one_mixture_are_separated_together_and_compared(sounds, tmp_path):
    calls = []
    model = echo_model(sample_rate_hz=32_000, calls=calls)
    result = run(sounds, tmp_path, "audiocaps", kinds=("caption", "label"), model=model)
    assert {len(counts) for _, counts in calls} == {4}
    assert all(counts[0] == counts[1] and counts[2] == counts[3] for _, counts in calls)
    caption, label = result.datasets[0].kinds
    assert (caption.kind, label.kind, caption.count, label.count) == ("caption", "label", 6, 6)
    difference = label.values["sdri_db"].mean - caption.values["sdri_db"].mean
    gain = label.over_first["sdri_db"]
    assert gain.difference.mean == pytest.approx(difference)
    assert gain.difference.low <= difference <= gain.difference.high
    table = (tmp_path / "table.md").read_text("utf-8")
    assert "### audiocaps by kind of query" in table
    assert f"{difference:+.2f} (" in table


def test_an_interrupted_run_resumes_and_writes_the_same_bytes(sounds, tmp_path):
    run(sounds, tmp_path / "whole")
    first = echo_model(sample_rate_hz=32_000)

    def breaks(mixture, condition, count, batches=iter(range(2))):
        next(batches)
        return first.apply(mixture, condition, count)

    broken = Model(apply=breaks, encode=first.encode, row_samples=first.row_samples, sample_rate_hz=32_000)
    with pytest.raises((StopIteration, RuntimeError)):
        run(sounds, tmp_path / "cut", model=broken)
    with (tmp_path / "cut" / ROWS_FILE).open("ab") as file:
        file.write(b'{"dataset": "esc50", "id": "5", "ki')  # a line that a killed process wrote in part
    before = (tmp_path / "cut" / ROWS_FILE).read_bytes().count(b"\n")
    calls = []
    run(sounds, tmp_path / "cut", model=echo_model(sample_rate_hz=32_000, calls=calls))
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert len(calls) * 4 >= 12 - before
    calls.clear()
    run(sounds, tmp_path / "cut", model=echo_model(sample_rate_hz=32_000, calls=calls))
    assert not calls
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_full_disk_keeps_what_was_measured(sounds, tmp_path, monkeypatch):
    synced = []
    real = os.fsync

    def full(descriptor):
        if synced:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synced.append(real(descriptor))

    monkeypatch.setattr("audiosep_jax.utils.journal.os.fsync", full)
    with pytest.raises(
        AudioSepError, match=r"rows\.jsonl cannot be written: No space left .* what is measured"
    ):
        run(sounds, tmp_path / "out")
    assert not (tmp_path / "out" / "result.json").exists()
    monkeypatch.undo()
    run(sounds, tmp_path / "out")
    run(sounds, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_another_run_in_the_same_folder_is_refused(sounds, tmp_path):
    run(sounds, tmp_path)
    kept = contents(tmp_path)
    with pytest.raises(AudioSepError, match=r"holds the results of another run \(different: checkpoint\)"):
        run(sounds, tmp_path, checkpoint="two")
    with pytest.raises(AudioSepError, match=r"\(different: datasets, mixtures\)"):
        run(sounds, tmp_path, "music")
    with pytest.raises(AudioSepError, match=r"\(different: mixtures\)"):
        run(sounds, tmp_path, kinds=("label",))
    assert contents(tmp_path) == kept


def test_rows_of_replaced_files_are_measured_again(sounds, tmp_path):
    root = tmp_path / "sounds"
    shutil.copytree(sounds / "esc50", root / "esc50")
    shutil.copy(sounds / "esc50_eval.csv", root)
    before = run(root, tmp_path / "out", "esc50")
    # Other sounds of the same length, and time passes as little as it does on a fast disk.
    path = root / "esc50/mixture-2.wav"
    samples, _ = soundfile.read(path, dtype="float32")
    at = path.stat().st_mtime_ns
    benchmark_folders.write_sound(path, 0.5 * samples, 32_000)
    os.utime(path, ns=(at, at + 1))
    calls = []
    model = echo_model(sample_rate_hz=32_000, calls=calls)
    result = run(root, tmp_path / "out", "esc50", model=model)
    assert len(calls) == 1
    assert [one == two for one, two in zip(before.rows, result.rows, strict=True)] == [True] * 2 + [False] + [
        True
    ] * 3
    assert result.rows == run(root, tmp_path / "new", "esc50").rows
    # The last row of a mixture counts, and nothing is left to do.
    run(root, tmp_path / "out", "esc50", model=model)
    assert len(calls) == 1


def test_a_corpus_of_another_recipe_is_another_run(tmp_path):
    def measure(**recipe):
        shutil.rmtree(tmp_path / "corpus", ignore_errors=True)
        corpus = benchmark_folders.rendered(tmp_path, rate=8000, **recipe)
        suite = rendered_suite(corpus)
        mixtures = list_mixtures(suite.datasets, metadata=corpus, root=corpus)
        model = echo_model(sample_rate_hz=8000)
        more = {"name": "echo", "checkpoint": "one", "batch_size": 1, "workers": 2}
        run_suite(suite, suite.datasets, mixtures, model=model, out=tmp_path / "out", **more)

    measure(snrs_db=(0.0,))
    measure(snrs_db=(0.0,))
    with pytest.raises(AudioSepError, match=r"results of another run \(different: files\)"):
        measure(snrs_db=(0.0,), encoding="FLOAT")
    with pytest.raises(AudioSepError, match=r"results of another run \(different: files, mixtures\)"):
        measure(snrs_db=(10.0,))


def test_a_folder_in_use_or_damaged_is_refused(sounds, tmp_path):
    with Journal(tmp_path, {}), pytest.raises(AudioSepError, match="another process measures into"):
        Journal(tmp_path, {})
    (tmp_path / ROWS_FILE).write_text("{}\n", "utf-8")
    with pytest.raises(AudioSepError, match=r"rows\.jsonl is damaged in line 1"):
        Journal(tmp_path, {})
    (tmp_path / "run.json").write_text("[", "utf-8")
    with pytest.raises(AudioSepError, match=r"run\.json is damaged"):
        Journal(tmp_path, {})
    (tmp_path / "run.json").unlink()
    with pytest.raises(AudioSepError, match=r"holds rows without run\.json"):
        Journal(tmp_path, {})


@pytest.fixture
def damaged(sounds, tmp_path):
    """Two files missing, one that is no sound, one shorter than its mixture, one cut off."""
    root = tmp_path / "damaged"
    shutil.copytree(sounds / "esc50", root / "esc50")
    shutil.copy(sounds / "esc50_eval.csv", root)
    (root / "esc50/segment-0.wav").unlink()
    (root / "esc50/mixture-1.wav").unlink()
    (root / "esc50/mixture-2.wav").write_bytes(b"not a sound at all")
    benchmark_folders.write_sound(root / "esc50/segment-3.wav", np.zeros(100, np.float32), 32_000)
    whole = (root / "esc50/segment-4.wav").read_bytes()
    (root / "esc50/segment-4.wav").write_bytes(whole[: len(whole) // 2])
    return root


def test_missing_files_are_counted_before_anything_is_computed(damaged, tmp_path):
    calls = []
    with pytest.raises(
        AudioSepError, match=r"5 of 6 mixtures cannot be used .*segment-0\.wav does not exist"
    ):
        run(damaged, tmp_path / "out", "esc50", model=echo_model(sample_rate_hz=32_000, calls=calls))
    assert not calls
    assert not (tmp_path / "out").exists()


def test_existing_files_are_measured_on_request_and_the_rest_is_stated(damaged, sounds, tmp_path):
    result = run(damaged, tmp_path / "out", "esc50", allow_missing=True)
    (dataset,) = result.datasets
    assert (dataset.listed, dataset.measured, [name for name, _ in dataset.unusable]) == (6, 1, list("01234"))
    whole = run(sounds, tmp_path / "whole", "esc50")
    assert result.rows == whole.rows[5:]
    table = (tmp_path / "out" / "table.md").read_text("utf-8")
    assert "**esc50: 5 of 6 mixtures are left out**" in table
    assert "must have one length" in table
    # With the missing files, the same folder is completed.
    shutil.copytree(sounds / "esc50", damaged / "esc50", dirs_exist_ok=True)
    assert run(damaged, tmp_path / "out", "esc50").datasets == whole.datasets


def test_nothing_usable_is_an_error_even_if_missing_is_allowed(damaged, tmp_path):
    shutil.rmtree(damaged / "esc50")
    with pytest.raises(AudioSepError, match="6 of 6 mixtures cannot be used"):
        run(damaged, tmp_path / "out", "esc50", allow_missing=True)


def test_a_damaged_file_is_left_out_only_on_request(sounds, tmp_path):
    root = tmp_path / "nan"
    shutil.copytree(sounds / "esc50", root / "esc50")
    shutil.copy(sounds / "esc50_eval.csv", root)
    bad = np.full(round(0.4 * 32_000) + 3, np.nan, np.float32)
    benchmark_folders.write_sound(root / "esc50/mixture-3.wav", bad, 32_000)
    with pytest.raises(AudioSepError, match=r"mixture-3\.wav holds NaN"):
        run(root, tmp_path / "strict", "esc50")
    result = run(root, tmp_path / "out", "esc50", allow_missing=True)
    assert result.datasets[0].measured == 5
    assert "mixture-3.wav holds NaN" in result.datasets[0].unusable[0][1]


def test_an_estimate_that_is_not_finite_is_named(sounds, tmp_path):
    model = echo_model(sample_rate_hz=32_000)
    broken = Model(
        apply=lambda mixture, condition, count: np.full_like(mixture, np.inf),
        encode=model.encode,
        row_samples=model.row_samples,
        sample_rate_hz=32_000,
    )
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(AudioSepError, match="the estimate of mixture 0 of esc50 is not finite"),
    ):
        run(sounds, tmp_path, "esc50", model=broken)


class Ear:
    """A CLAP whose score of a sound grows with its level."""

    def encode(self, texts):
        return np.tile(np.array([1.0, 0.0]), (len(texts), 1))

    def encode_audio(self, waveforms, *, sample_rate_hz):
        assert sample_rate_hz == 32_000
        levels = np.array([np.sqrt(np.mean(waveform**2)) for waveform in waveforms])
        return np.stack([levels, np.full(len(levels), 0.1)], 1)


def test_a_clap_adds_its_scores(sounds, tmp_path):
    scorer = Scorer(tower=Ear(), fingerprint="ear")
    result = run(sounds, tmp_path, "esc50", scorer=scorer)
    assert result.metrics[-3:] == ("clap_score", "clap_score_i", "ref_clap_score")
    assert all(0 < row.metrics["clap_score"] < 1 for row in result.rows)
    assert "RefCLAPScore" in (tmp_path / "table.md").read_text("utf-8")
    with pytest.raises(AudioSepError, match=r"\(different: clap\)"):
        run(sounds, tmp_path, "esc50")
