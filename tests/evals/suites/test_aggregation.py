"""Every suite against a direct computation: one file at a time, with plain formulas."""

import collections
import csv
import dataclasses
import json
import statistics

import benchmark_folders
import numpy as np
import pytest
import soundfile
from benchmark_models import echo, echo_model, gain

from audiosep_jax.evals.suites import measure
from audiosep_jax.evals.suites.definitions import SEPARATION, SPEECH, SUITES
from audiosep_jax.evals.suites.figures import write_figures
from audiosep_jax.evals.suites.plan import list_mixtures
from audiosep_jax.evals.suites.runner import run_suite


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("suites")
    benchmark_folders.audiosep(root / "audiosep", root / "lists")
    benchmark_folders.dcase(root / "dcase", root / "lists")
    benchmark_folders.voicebank(root / "voicebank", root / "lists", rate=16_000)
    return root


def run(name, folders, out, **changes):
    suite = SUITES[name]
    mixtures = list_mixtures(suite.datasets, metadata=folders / "lists", root=folders / name)
    given = {"model": echo_model(sample_rate_hz=suite.measure_hz), "batch_size": 3, "workers": 2}
    return run_suite(
        suite, suite.datasets, mixtures, name="echo", checkpoint="c", out=out, **(given | changes)
    )


def sdr(target, estimate):
    error = np.mean((estimate - target) ** 2)
    return 10 * np.log10(max(np.mean(target**2), 1e-10) / max(error, 1e-10))


def si_sdr(target, estimate):
    epsilon = np.finfo(np.float32).eps
    scale = (epsilon + target @ estimate) / (epsilon + target @ target)
    signal = epsilon + np.sum((scale * target) ** 2)
    return 10 * np.log10(signal / (epsilon + np.sum((estimate - scale * target) ** 2)))


def direct(target, mixture, query):
    estimate = echo(mixture, query)
    return {
        "sdr_db": sdr(target, estimate),
        "sdri_db": sdr(target, estimate) - sdr(target, mixture),
        "si_sdr_db": si_sdr(target, estimate),
        "si_sdri_db": si_sdr(target, estimate) - si_sdr(target, mixture),
    }


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def read(path):
    return soundfile.read(path)[0]


def by_hand(name, folders):
    """The reference's numbers for a dataset: {metric: value}."""
    rows = rows_of(folders / "lists" / f"{name}_eval.csv")
    place = folders / "audiosep" / name
    values = collections.defaultdict(list)
    for row in rows:
        if name == "vggsound":
            query, target, mixture = row[3], place / row[2], place / row[1]
        elif name == "audioset":
            query, (target, mixture) = row[1], [place / path.split("data/audioset/")[1] for path in row[2:]]
        else:
            query, target, mixture = row[1], place / f"segment-{row[0]}.wav", place / f"mixture-{row[0]}.wav"
        values[query].append(direct(read(target), read(mixture), query))
    numbers = {}
    for metric in SEPARATION:
        classes = [[value[metric] for value in own] for own in values.values()]
        if name == "audioset":
            numbers[metric] = statistics.mean(statistics.median(own) for own in classes)
        elif name == "music":
            numbers[metric] = statistics.mean(statistics.mean(own) for own in classes)
        else:
            numbers[metric] = statistics.mean(value for own in classes for value in own)
    return numbers


@pytest.fixture(scope="module")
def measured(folders):
    """The whole audiosep suite and where it was written."""
    return run("audiosep", folders, folders / "out"), folders / "out"


def test_the_audiosep_suite_equals_a_loop_over_the_lists(folders, measured):
    result, _ = measured
    assert [dataset.name for dataset in result.datasets] == [
        "audioset",
        "vggsound",
        "audiocaps",
        "clotho",
        "music",
        "esc50",
    ]
    for dataset in result.datasets:
        expected = by_hand(dataset.name, folders)
        (kind,) = dataset.kinds
        for metric in SEPARATION:
            assert kind.values[metric].mean == pytest.approx(expected[metric], abs=2e-3), dataset.name
            assert kind.values[metric].low <= kind.values[metric].mean <= kind.values[metric].high
    # The three ways of pooling are told apart by these lists.
    for name in ("audioset", "music"):
        values = [row.metrics["sdri_db"] for row in result.rows if row.dataset == name]
        assert abs(np.mean(values) - by_hand(name, folders)["sdri_db"]) > 0.02


def test_dcase_is_mixed_and_pooled_as_its_evaluator_does(folders, tmp_path):
    result = run("dcase", folders, tmp_path)
    values, clipped = [], 0
    for source, noise, snr, caption in rows_of(folders / "lists/lass_synthetic_validation.csv"):
        target, other = (read(folders / f"dcase/lass_validation/{name}.wav") for name in (source, noise))
        mixture = target + other * np.sqrt(np.mean(target**2) / 10 ** (int(snr) / 10) / np.mean(other**2))
        if (peak := np.abs(mixture).max()) > 1:
            target, mixture, clipped = target * 0.9 / peak, mixture * 0.9 / peak, clipped + 1
        values.append(direct(target, mixture, caption))
        assert sdr(target, mixture) == pytest.approx(int(snr), abs=1e-3)
    assert 0 < clipped < len(values)
    (dataset,) = result.datasets
    assert [(group.name, group.count) for group in dataset.kinds[0].snrs] == [("-15", 2), ("0", 2), ("7", 1)]
    for metric in ("sdr_db", "sdri_db", "si_sdr_db"):
        mean = statistics.mean(value[metric] for value in values)
        assert dataset.kinds[0].values[metric].mean == pytest.approx(mean, abs=2e-3)
        of_zero = statistics.mean(value[metric] for value in values[1::3])
        assert dataset.kinds[0].snrs[1].values[metric].mean == pytest.approx(of_zero, abs=2e-3)


def test_voicebank_is_a_mean_over_utterances_with_the_query_speech(folders, tmp_path, monkeypatch):
    def speech(target, estimate, *, sample_rate_hz):
        assert sample_rate_hz == 16_000
        return {name: float(sdr(target, estimate)) + place for place, name in enumerate(SPEECH)}

    monkeypatch.setattr(measure, "speech_metrics", speech)
    monkeypatch.setattr("audiosep_jax.evals.suites.runner.check_packages", lambda suite: None)
    result = run("voicebank", folders, tmp_path)
    names = [line.split() for line in (folders / "lists/log_testset.txt").read_text("utf-8").splitlines()]
    values = []
    for name, _, _ in names:
        target, mixture = (
            read(folders / f"voicebank/{kind}_testset_wav/{name}.wav") for kind in ("clean", "noisy")
        )
        values.append(sdr(target, echo(mixture, "speech")))
    kind = result.datasets[0].kinds[0]
    for place, metric in enumerate(SPEECH):
        assert kind.values[metric].mean == pytest.approx(statistics.mean(values) + place, abs=2e-3)
    assert [group.name for group in kind.classes] == ["bus", "living"]
    assert [(group.name, group.count) for group in kind.snrs] == [("2.5", 2), ("17.5", 2)]
    assert kind.snrs[0].values["pesq"].mean == pytest.approx(statistics.mean(values[:2]), abs=2e-3)


def test_the_written_files_hold_the_result(measured):
    result, out = measured
    written = json.loads((out / "result.json").read_text("utf-8"))
    assert written == json.loads(json.dumps(dataclasses.asdict(result)))
    assert len(written["rows"]) == sum(dataset.measured for dataset in result.datasets) == 40
    table = (out / "table.md").read_text("utf-8")
    for dataset in result.datasets:
        assert (
            f"| {dataset.name} | {dataset.measured} | {dataset.kinds[0].values['sdri_db'].mean:.2f} ("
            in table
        )
    assert "mean over classes of their medians" in table
    classes = (out / "classes.md").read_text("utf-8")
    assert "Male speech, man speaking" in classes
    write_figures(result, out)
    figures = {path.name for path in out.glob("*.png")}
    assert figures == {
        "summary.png",
        *(f"classes-{name}.png" for name in ("audioset", "vggsound", "music", "esc50")),
    }


def test_a_model_of_another_rate_is_given_the_resampled_mixture(folders, tmp_path):
    """An echo of one sample at 16 kHz is one of two at 32 kHz: below 4 kHz that is what comes back."""
    suite = SUITES["audiosep"]
    mixtures = list_mixtures(suite.datasets[-1:], metadata=folders / "lists", root=folders / "audiosep")
    result = run_suite(
        suite,
        suite.datasets[-1:],
        mixtures,
        model=echo_model(sample_rate_hz=16_000),
        name="echo",
        checkpoint="c",
        out=tmp_path,
        batch_size=4,
        workers=2,
    )
    for row, mixture in zip(result.rows, mixtures, strict=True):
        sound, target = read(mixture.other), read(mixture.target)
        factor = gain(row.query)
        estimate = factor * sound + 0.3 * (factor - 0.7) * np.pad(sound, (2, 0))[:-2]
        assert row.metrics["sdr_db"] == pytest.approx(sdr(target, estimate), abs=0.05)
