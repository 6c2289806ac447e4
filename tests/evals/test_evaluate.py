import dataclasses
import io
import json

import numpy as np
import pytest
from evals_sounds import CAPTIONS, RATE, small_set, write_clips
from rich.console import Console

from audiosep_jax.audio.levels import level_db
from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals import metrics, report
from audiosep_jax.evals.bounds import measure_bounds
from audiosep_jax.evals.evaluate import evaluate, resampled_apply
from audiosep_jax.evals.evaluation_set import render, render_entries
from audiosep_jax.evals.measure import measure_arrays, merge

ALL_CAPTIONS = [caption for captions in CAPTIONS.values() for caption in captions]


def encode(queries):
    """A condition that names the caption: a one at its place."""
    return np.stack([np.eye(len(ALL_CAPTIONS), dtype=np.float32)[ALL_CAPTIONS.index(one)] for one in queries])


def halve(mixture, condition):
    return 0.5 * mixture


def arrays(examples=5, samples=400, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.standard_normal((examples, samples)).astype(np.float32)
    mixture = target + rng.standard_normal((examples, samples)).astype(np.float32)
    return {"mixture": mixture, "target": target, "condition": np.ones((examples, 3), np.float32)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module")
def small(root):
    return small_set(root, write_clips(root))


@pytest.fixture(scope="module")
def result(root, small):
    return evaluate(
        small, root=root, apply=halve, encode=encode, model_sample_rate_hz=RATE, model="half", batch_size=4
    )


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 8])
def test_batches_do_not_change_the_measurements(batch_size):
    given = arrays()
    shapes = set()

    def apply(mixture, condition):
        shapes.add((mixture.shape, condition.shape))
        return 0.5 * mixture

    got = measure_arrays(apply, **given, batch_size=batch_size)
    assert shapes == {((batch_size, 400), (batch_size, 3))}
    estimate = 0.5 * given["mixture"]
    np.testing.assert_array_equal(got.sdr_db, metrics.sdr_db(given["target"], estimate))
    np.testing.assert_array_equal(got.energy_ratio_db, metrics.energy_ratio_db(estimate, given["mixture"]))
    assert got.means()["sdri_db"] == pytest.approx(
        np.mean(metrics.sdri_db(given["target"], estimate, given["mixture"])), abs=1e-12
    )


def test_garbage_for_the_filled_rows_is_never_measured():
    given = arrays(examples=3)

    def apply(mixture, condition):
        return np.where((condition == 0).all(1)[:, None], np.nan, 0.5 * mixture)

    got = measure_arrays(apply, **given, batch_size=4)
    whole = measure_arrays(halve, **given, batch_size=3)
    np.testing.assert_array_equal(got.sdri_db, whole.sdri_db)


def test_a_mean_over_uneven_parts_weighs_every_example_once():
    given = arrays(examples=5)
    parts = [
        measure_arrays(halve, **{name: array[rows] for name, array in given.items()})
        for rows in (slice(0, 4), slice(4, 5))
    ]
    assert merge(parts).means() == measure_arrays(halve, **given).means()


def test_means_keep_absent_and_present_queries_apart():
    given = arrays(examples=4)
    absent = np.array([True, False, False, True])
    means = measure_arrays(halve, **given, absent=absent).means()
    assert means["absent_attenuation_db"] == pytest.approx(20 * np.log10(2), abs=1e-6)
    present = {name: array[~absent] for name, array in given.items()}
    assert means["sdr_db"] == pytest.approx(measure_arrays(halve, **present).means()["sdr_db"])
    assert set(measure_arrays(halve, **given, absent=np.ones(4, bool)).means()) == {"absent_attenuation_db"}
    assert "absent_attenuation_db" not in measure_arrays(halve, **given).means()


def test_a_broken_separator_is_caught(root, small):
    calls = []

    def poisoned(mixture, condition):
        estimate = mixture.copy()
        calls.append(len(mixture))
        if len(calls) == 2:
            estimate[1, 7] = np.nan
        return estimate

    with pytest.raises(AudioSepError, match="mixture 3 is not finite"):
        measure_arrays(poisoned, **arrays(), batch_size=2)
    calls.clear()
    with pytest.raises(AudioSepError, match="mixture 5 is not finite"):
        evaluate(small, root=root, apply=poisoned, encode=encode, model_sample_rate_hz=RATE, batch_size=4)
    with pytest.raises(ValueError, match=r"returned \(8, 399\)"):
        measure_arrays(lambda mixture, condition: mixture[:, 1:], **arrays(), batch_size=8)
    with pytest.raises((ValueError, TypeError)):
        measure_arrays(halve, **(arrays() | {"condition": np.ones((4, 3), np.float32)}))


def test_an_oracle_reaches_the_floor_and_a_deaf_model_reaches_nothing(root, small):
    by_mixture = {
        one.mixture.tobytes(): one.target
        for one in (
            render(entry, root=root, sample_rate_hz=RATE, seconds=small.seconds) for entry in small.entries
        )
    }

    def oracle(mixture, condition):
        return np.stack([by_mixture.get(row.tobytes(), row) for row in mixture])

    best = evaluate(small, root=root, apply=oracle, encode=encode, model_sample_rate_hz=RATE)
    deaf = evaluate(small, root=root, apply=lambda m, c: m, encode=encode, model_sample_rate_hz=RATE)
    assert best.overall.sdri_db.low > 70
    assert best.absent_attenuation_db.mean > 70
    assert deaf.overall.sdri_db == dataclasses.replace(deaf.overall.sdri_db, mean=0.0, low=0.0, high=0.0)
    assert abs(deaf.overall.sdr_db.mean) < 0.01
    assert deaf.absent_attenuation_db.mean == pytest.approx(0, abs=1e-9)


def test_every_mixture_gets_the_condition_of_its_query(root, small):
    seen = []

    def spy(mixture, condition):
        seen.extend(condition)
        return mixture

    evaluate(small, root=root, apply=spy, encode=encode, model_sample_rate_hz=RATE, batch_size=4)
    expected = encode([entry.query for entry in small.entries])
    # Eighteen mixtures in batches of four: the last two rows are filling.
    np.testing.assert_array_equal(np.stack(seen)[: len(expected)], expected)
    assert not np.stack(seen)[len(expected) :].any()


def test_rows_classes_and_means_agree(small, result):
    assert [row.index for row in result.examples] == [
        index for index, entry in enumerate(small.entries) if not entry.is_absent
    ]
    assert [one.label for one in result.classes] == sorted(CAPTIONS)
    assert result.overall.count == sum(one.count for one in result.classes) == 12
    assert len(result.absent) == 6
    for name in ("sdri_db", "sdr_db", "si_sdr_db", "si_sdri_db"):
        values = [getattr(row, name) for row in result.examples]
        assert getattr(result.overall, name).mean == pytest.approx(np.mean(values))
        weighted = np.mean([getattr(one, name).mean for one in result.classes])
        assert getattr(result.overall, name).mean == pytest.approx(weighted)
    # Scaling alone: SI-SDR cannot change.
    assert result.overall.si_sdri_db.mean == pytest.approx(0, abs=1e-3)


def test_a_model_of_another_rate_is_measured_at_the_rate_of_the_set(root, small):
    seen = set()

    def apply(mixture, condition):
        seen.add(mixture.shape)
        return mixture

    result = evaluate(small, root=root, apply=apply, encode=encode, model_sample_rate_hz=6000, batch_size=6)
    assert seen == {(6, 3000)}
    assert (result.sample_rate_hz, result.model_sample_rate_hz) == (RATE, 6000)
    mixture, _ = render_entries(small, small.entries[:2], root=root)
    odd = mixture[:, :3999]
    back = resampled_apply(apply, set_rate_hz=RATE, model_rate_hz=6000)(odd, odd)
    assert back.shape == odd.shape
    tone = np.sin(2 * np.pi * 500 * np.arange(4000) / RATE).astype(np.float32)[None]
    through = resampled_apply(apply, set_rate_hz=RATE, model_rate_hz=6000)(tone, tone)
    np.testing.assert_allclose(through[:, 200:-200], tone[:, 200:-200], atol=2e-3)


def test_missing_files_stop_before_the_model_runs(small, tmp_path):
    def never(mixture, condition):
        raise AssertionError("the model ran")

    with pytest.raises(AudioSepError, match="9 of 9 files"):
        evaluate(small, root=tmp_path, apply=never, encode=encode, model_sample_rate_hz=RATE)


def test_json_holds_everything(result, tmp_path):
    report.write_json(result, tmp_path / "out" / "result.json")
    read = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert read == json.loads(json.dumps(dataclasses.asdict(result)))
    assert len(read["examples"]) == 12
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["result.json"]


def test_a_value_that_json_cannot_hold_leaves_the_old_file(result, tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old", "utf-8")
    with pytest.raises(ValueError, match="JSON"):
        report.write_json(dataclasses.replace(result, seconds=float("nan")), path)
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named(result, tmp_path):
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(AudioSepError, match=r"file cannot be written as a folder"):
        report.write_json(result, tmp_path / "file" / "result.json")


def test_markdown_and_console_show_every_class_and_the_mean(result):
    text = report.markdown(result)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(CAPTIONS) + 1
    assert len({row.count("|") for row in rows}) == 1
    overall = result.overall.sdri_db
    assert f"**{overall.mean:.2f}** | **{overall.low:.2f} … {overall.high:.2f}**" in rows[-1]
    assert f"{result.absent_attenuation_db.mean:.2f} dB" in text
    assert "6 kHz" in report.markdown(dataclasses.replace(result, model_sample_rate_hz=6000))
    stream = io.StringIO()
    Console(file=stream, width=100).print(report.console_table(result))
    shown = stream.getvalue()
    assert "half on small" in shown
    for label in (*CAPTIONS, "all"):
        assert label in shown


def test_a_set_of_absent_queries_only_has_a_report_too(root, small):
    only = dataclasses.replace(small, entries=tuple(entry for entry in small.entries if entry.is_absent))
    result = evaluate(only, root=root, apply=halve, encode=encode, model_sample_rate_hz=RATE)
    assert result.overall is None
    assert result.absent_attenuation_db.mean == pytest.approx(6.0206, abs=1e-3)
    assert "6.02 dB" in report.markdown(result)
    Console(file=io.StringIO()).print(report.console_table(result))


def test_every_mixture_is_heard_at_the_working_level(root, small):
    heard = []

    def apply(mixture, condition):
        heard.extend(level_db(row[None], sample_rate_hz=RATE) for row in mixture if row.any())
        return 0.5 * mixture

    arguments = {"root": root, "encode": encode, "model_sample_rate_hz": RATE, "batch_size": 4}
    as_it_is = evaluate(small, apply=apply, **arguments)
    assert max(heard) - min(heard) > 1e-3
    heard.clear()
    levelled = evaluate(small, apply=apply, working_level_db=-40.0, **arguments)
    assert heard == pytest.approx([-40] * len(heard), abs=1e-3)
    assert levelled.overall.sdr_db.mean == pytest.approx(as_it_is.overall.sdr_db.mean, abs=1e-4)


def test_a_gain_is_heard_by_the_separator_alone(root, small):
    peaks = []

    def apply(mixture, condition):
        peaks.append(np.abs(mixture).max())
        return 0.5 * mixture

    arguments = {"root": root, "encode": encode, "model_sample_rate_hz": RATE, "batch_size": 4}
    loud = evaluate(small, apply=apply, **arguments)
    heard, peaks = peaks, []
    quiet = evaluate(small, apply=apply, gain_db=-40.0, **arguments)
    np.testing.assert_allclose(peaks, 0.01 * np.array(heard), rtol=1e-5)
    assert quiet.gain_db == -40
    assert quiet.title == f"{loud.title} at -40 dB"
    for one, other in zip(loud.examples, quiet.examples, strict=True):
        assert other.sdri_db == pytest.approx(one.sdri_db, abs=1e-4)
    assert quiet.absent_attenuation_db.mean == pytest.approx(loud.absent_attenuation_db.mean, abs=1e-4)


def test_a_separator_of_fixed_level_shows_in_the_gains(root, small):
    def gate(mixture, condition):
        return np.where(np.abs(mixture).max(-1, keepdims=True) > 0.05, 0.5, 0) * mixture

    arguments = {"root": root, "apply": gate, "encode": encode, "model_sample_rate_hz": RATE}
    loud, quiet = (evaluate(small, gain_db=gain, **arguments) for gain in (0.0, -60.0))
    assert loud.overall.sdr_db.mean > 2.9
    assert quiet.overall.sdr_db.mean == pytest.approx(0, abs=1e-6)
    rows = report.gain_rows([quiet, loud])
    assert [row[0] for row in rows] == ["0 dB", "-60 dB"]
    assert "| -60 dB | " in report.markdown(loud, gains=[quiet])


def test_kinds_have_means_and_a_table(root, small):
    kinds = {"tone": "steady", "noise": "steady", "pulse": "short"}
    grouped = dataclasses.replace(small, kinds=kinds)
    arguments = {"root": root, "apply": halve, "encode": encode, "model_sample_rate_hz": RATE}
    result, plain = evaluate(grouped, **arguments), evaluate(small, **arguments)
    assert (
        dataclasses.replace(
            result, kinds=(), examples=tuple(dataclasses.replace(row, kind="") for row in result.examples)
        )
        == plain
    )
    short, steady = result.kinds
    assert (short.label, short.count, steady.label, steady.count) == ("short", 4, "steady", 8)
    (pulse,) = (one for one in result.classes if one.label == "pulse")
    assert dataclasses.replace(short, label="pulse") == pulse
    values = [row.sdri_db for row in result.examples if row.kind == "steady"]
    assert steady.sdri_db.mean == pytest.approx(np.mean(values))
    text = report.markdown(result)
    assert text.index("| kind |") < text.index("| short | 4 |") < text.index("| class |")
    assert "| kind |" not in report.markdown(plain)
    stream = io.StringIO()
    Console(file=stream, width=120).print(report.console_table(result))
    assert "steady" in stream.getvalue()
    assert "pulse" not in stream.getvalue()


def test_bounds_stand_beside_every_number(root, small):
    grouped = dataclasses.replace(small, kinds={"tone": "steady", "noise": "steady", "pulse": "short"})
    result = evaluate(grouped, root=root, apply=halve, encode=encode, model_sample_rate_hz=RATE)
    bounds = measure_bounds(grouped, root=root, model_sample_rate_hz=RATE, window_length=256, hop_length=64)
    for group, count in (("kinds", 3), ("classes", 4)):
        header = report.group_header(result, group, bounds=bounds)
        rows = report.group_rows(result, group, bounds=bounds)
        assert header[-3:] == ("half", "ratio mask", "phase-sensitive mask")
        assert len(rows) == count
        assert all(len(row) == len(header) for row in rows)
        for row, one in zip(rows, report.means(bounds[1], group), strict=True):
            assert row[2] == row[-3] == f"{one.sdri_db.mean:.2f}"  # the model is the half, too
        alone = report.group_rows(None, group, bounds=bounds)
        assert [(*row[:2], *row[-4:]) for row in rows] == alone
    assert "| phase-sensitive mask | " in report.markdown(None, bounds=bounds)
    assert "## Floors and ceilings on small" in report.markdown(None, bounds=bounds)
    for shown in (result, None):
        Console(file=io.StringIO()).print(report.console_table(shown, bounds=bounds))
