import dataclasses
import json
import shutil

import benchmark_folders
import numpy as np
import pytest
import soundfile
from benchmark_models import echo_model

from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals.suites.comparison import compare
from audiosep_jax.evals.suites.definitions import SUITES
from audiosep_jax.evals.suites.plan import chosen_datasets, list_mixtures
from audiosep_jax.evals.suites.report import comparison_markdown
from audiosep_jax.evals.suites.runner import Model, run_suite


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    root = tmp_path_factory.mktemp("sounds")
    benchmark_folders.audiosep(root, root, rate=32_000, rows=20)
    benchmark_folders.dcase(root, root)
    return root


def run(root, out, *names, suite="audiosep", louder=1.0, name="echo"):
    whole = SUITES[suite]
    datasets = chosen_datasets(whole, names)
    echo = echo_model(sample_rate_hz=whole.measure_hz)
    model = Model(
        apply=lambda mixture, condition, lengths: louder * echo.apply(mixture, condition, lengths),
        encode=echo.encode,
        row_samples=echo.row_samples,
        sample_rate_hz=echo.sample_rate_hz,
    )
    mixtures = list_mixtures(datasets, metadata=root, root=root)
    return run_suite(
        whole,
        datasets,
        mixtures,
        model=model,
        name=name,
        checkpoint=f"{name} {louder}",
        out=out,
        batch_size=8,
        workers=2,
    )


def test_a_difference_is_that_of_the_pools_and_significant_where_all_mixtures_agree(sounds, tmp_path):
    a = run(sounds, tmp_path / "a", "audioset", "esc50", name="old")
    b = run(sounds, tmp_path / "b", "audioset", "esc50", louder=0.05, name="new")
    found = compare(tmp_path / "a", tmp_path / "b")
    assert (found.before, found.after) == ("old", "new")
    for row, old, new in zip(found.rows, a.datasets, b.datasets, strict=True):
        gain = row.gains["sdr_db"]
        expected = new.kinds[0].values["sdr_db"].mean - old.kinds[0].values["sdr_db"].mean
        assert gain.difference.mean == pytest.approx(expected)
        assert gain.difference.low <= expected <= gain.difference.high
        # SI-SDR ignores a gain.
        assert row.gains["si_sdr_db"].difference.mean == pytest.approx(0, abs=1e-3)
    back = compare(tmp_path / "b", tmp_path / "a").rows[1].gains["sdr_db"]
    assert back.difference.mean == pytest.approx(-found.rows[1].gains["sdr_db"].difference.mean)
    assert f"{back.difference.mean:+.2f} (" in comparison_markdown(compare(tmp_path / "b", tmp_path / "a"))


def test_a_paired_comparison_is_more_certain_than_two_intervals(sounds, tmp_path):
    a = run(sounds, tmp_path / "a", "esc50")
    b = run(sounds, tmp_path / "b", "esc50", louder=0.97)
    (row,) = compare(tmp_path / "a", tmp_path / "b").rows
    alone = [result.datasets[0].kinds[0].values["sdr_db"] for result in (a, b)]
    assert alone[0].low < alone[1].high
    assert alone[1].low < alone[0].high
    assert row.gains["sdr_db"].p_value < 0.01
    width = row.gains["sdr_db"].difference.high - row.gains["sdr_db"].difference.low
    assert width < 0.2 * (alone[0].high - alone[0].low)


def test_a_model_does_not_differ_from_itself(sounds, tmp_path):
    run(sounds, tmp_path / "a", "esc50")
    run(sounds, tmp_path / "b", "esc50")
    found = compare(tmp_path / "a", tmp_path / "b")
    assert {gain.p_value for gain in found.rows[0].gains.values()} == {1.0}
    assert found.before.endswith(f"({tmp_path / 'a'})")


def test_other_mixtures_suites_and_unfinished_results_are_refused(sounds, tmp_path):
    run(sounds, tmp_path / "a", "esc50")
    run(sounds, tmp_path / "b", "esc50", "music")
    with pytest.raises(
        AudioSepError, match=r"same mixtures and queries: 0 are only in the first and 21 only"
    ):
        compare(tmp_path / "a", tmp_path / "b")
    run(sounds, tmp_path / "c", suite="dcase")
    with pytest.raises(AudioSepError, match=r"is of the suite audiosep and .* of dcase"):
        compare(tmp_path / "a", tmp_path / "c")
    with pytest.raises(AudioSepError, match=r"holds no result\.json: give the --out of a finished benchmark"):
        compare(tmp_path / "a", tmp_path)
    (tmp_path / "result.json").write_text('{"rows": [1]}', "utf-8")
    with pytest.raises(AudioSepError, match=r"result\.json is damaged"):
        compare(tmp_path / "a", tmp_path)


def test_other_sounds_of_the_same_names_are_refused(sounds, tmp_path):
    run(sounds, tmp_path / "a", "esc50")
    shutil.copytree(sounds / "esc50", tmp_path / "sounds/esc50")
    shutil.copy(sounds / "esc50_eval.csv", tmp_path / "sounds")
    target, mixture = (tmp_path / f"sounds/esc50/{kind}-3.wav" for kind in ("segment", "mixture"))
    samples = [soundfile.read(path, dtype="float32")[0] for path in (target, mixture)]
    louder = samples[0] + np.float32(1.001) * (samples[1] - samples[0])  # the noise, by 0.009 dB
    benchmark_folders.write_sound(mixture, louder, 32_000)
    run(tmp_path / "sounds", tmp_path / "b", "esc50", name="other")
    with pytest.raises(
        AudioSepError, match=r"same files: 1 mixtures, such as 3 of esc50, differ in SDR; measure"
    ):
        compare(tmp_path / "a", tmp_path / "b")


def test_corpora_of_other_digests_or_ratios_are_refused(sounds, tmp_path):
    def changed(change):
        shutil.copytree(tmp_path / "a", tmp_path / "b", dirs_exist_ok=True)
        values = json.loads((tmp_path / "a/result.json").read_text("utf-8")) | {"digest": "one"}
        (tmp_path / "a/result.json").write_text(json.dumps(values), "utf-8")
        change(values)
        (tmp_path / "b/result.json").write_text(json.dumps(values), "utf-8")
        return tmp_path / "a", tmp_path / "b"

    run(sounds, tmp_path / "a", suite="dcase")
    compare(*changed(lambda values: values.pop("digest")))
    with pytest.raises(AudioSepError, match="same files: the digests of their corpora differ"):
        compare(*changed(lambda values: values.update(digest="two")))
    with pytest.raises(AudioSepError, match="1 mixtures, such as 2 of dcase"):
        compare(*changed(lambda values: values["rows"][2].update(snr_db=3.0)))


def test_results_are_plain_values(sounds, tmp_path):
    run(sounds, tmp_path / "a", "esc50")
    found = compare(tmp_path / "a", tmp_path / "a")
    assert dataclasses.asdict(found)["rows"][0]["dataset"] == "esc50"
