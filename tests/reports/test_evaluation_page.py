import dataclasses
import itertools
import json
import re
import types

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from report_parts import HOSTILE, evaluation, read_page

import audiosep_jax
from audiosep_jax.audio.pcm import quantise
from audiosep_jax.audio.writing import write_audio
from audiosep_jax.cli.main import main
from audiosep_jax.encoders import base
from audiosep_jax.evals import report
from audiosep_jax.evals.bounds import measure_bounds
from audiosep_jax.evals.evaluate import evaluate
from audiosep_jax.evals.evaluation_set import load_evaluation_set, render_entries
from audiosep_jax.evals.figures import draw_classes
from audiosep_jax.reports import evaluation_page
from audiosep_jax.reports.result_file import read_result

RATE = 8000


def encode(queries):
    return np.ones((len(queries), 2), np.float32)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A set of three mixtures, and the result of a model that returns 0.7 of each."""
    root = tmp_path_factory.mktemp("measured")
    rng = np.random.default_rng(0)
    for index in range(4):
        write_audio(root / f"{index}.wav", rng.uniform(-0.3, 0.3, RATE // 4), sample_rate_hz=RATE)
    entries = [
        {
            "target": {"file": f"{index}.wav", "label": f"c{index}", "offset_seconds": 0.0},
            "interferer": {"file": "3.wav", "label": "x", "offset_seconds": 0.0},
            "caption": f"<b>sound</b> {index}",
            "snr_db": float(5 * index),
            "absent_caption": "",
        }
        for index in range(3)
    ]
    values = {"version": 1, "name": "three", "description": "", "sample_rate_hz": RATE, "seconds": 0.25}
    (root / "set.json").write_text(json.dumps({**values, "seed": 0, "entries": entries}), "utf-8")
    loaded = load_evaluation_set(root / "set.json")
    result = evaluate(
        loaded, root=root, apply=lambda m, c: 0.7 * m, encode=encode, model_sample_rate_hz=RATE, model="0.7"
    )
    report.write_json(result, root / "results" / "result.json")
    return root


def a_model(monkeypatch, *, factor, rate=RATE):
    """Makes `load` return a model in NumPy."""
    network = types.SimpleNamespace(working_level_db=None)
    query = types.SimpleNamespace(encoder="ones")
    config = types.SimpleNamespace(model=network, query=query)
    model = types.SimpleNamespace(apply=lambda m, c: factor * m, sample_rate_hz=rate, config=config)
    monkeypatch.setattr(audiosep_jax, "load", lambda checkpoint: model)
    monkeypatch.setattr(base, "load_encoder", lambda config: types.SimpleNamespace(encode=encode))


def test_a_result_is_read_back_as_it_was(measured, tmp_path):
    original = evaluation(["dog", "cat"])
    report.write_json(original, tmp_path / "result.json")
    assert read_result(tmp_path) == original
    written = json.loads((measured / "results" / "result.json").read_text("utf-8"))
    assert json.loads(json.dumps(dataclasses.asdict(read_result(measured / "results")))) == written


def test_fifty_classes_are_all_drawn_without_overlapping_labels():
    result = evaluation([f"a class of sounds {index}" for index in range(50)], each=1)
    figure = draw_classes(result, most=evaluation_page.MOST_BARS)
    FigureCanvasAgg(figure).draw()
    labels = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == 50
    assert all(lower.y1 < upper.y0 for lower, upper in itertools.pairwise(labels))
    assert min(label.x0 for label in labels) >= 0


def test_the_best_and_worst_of_many_classes_are_drawn_and_the_rest_counted():
    result = evaluation([f"class {index}" for index in range(527)], each=1)
    axis = draw_classes(result, most=40).axes[0]
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == [f"class {index} (1)" for index in [*range(20), *range(507, 527)]]
    rows = axis.get_yticks()
    assert rows[20] - rows[19] == 2  # an empty row states how many are left out
    assert [text.get_text() for text in axis.texts] == ["… 487 classes lie between …"]
    assert [bar.get_width() for bar in axis.patches] == pytest.approx(
        [one.sdri_db.mean for one in [*result.classes[:20], *result.classes[507:]]]
    )


def test_a_page_without_sounds_has_all_numbers(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluation_page, "MOST_BARS", 2)
    monkeypatch.setattr(evaluation_page, "BARS_OF_MORE", 2)
    report.write_json(evaluation(["dog", HOSTILE, "cat$_{"]), tmp_path / "in" / "result.json")
    (tmp_path / "in" / "spectrograms-best.png").write_bytes(b"\x89PNG\r\n\x1a\nbest")
    assert main(["show", "evaluation", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    written = ["classes.png", "distribution.png", "report.html"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == written
    assert len(capsys.readouterr().out.splitlines()) == 3
    page = read_page(tmp_path / "out")
    assert [content for _, content in page.pictures] == [
        (tmp_path / "out" / "classes.png").read_bytes(),
        (tmp_path / "out" / "distribution.png").read_bytes(),
        b"\x89PNG\r\n\x1a\nbest",
    ]
    assert "the 1 best and the 1 worst of 3 classes" in page.pictures[0][0]
    rows = page.tables[0]
    assert [row[0] for row in rows] == ["class", "all", "cat$ {", HOSTILE.replace("\x00", "\ufffd"), "dog"]
    mean = evaluation(["dog", HOSTILE, "cat$_{"]).classes[0].sdri_db.mean
    assert rows[-1][1:5] == ["3", f"{mean:.2f}", f"{mean - 0.2:.2f}", f"{mean + 0.4:.2f}"]
    assert not page.sounds


def test_best_median_and_worst_are_played(measured, tmp_path, monkeypatch):
    a_model(monkeypatch, factor=0.7)
    given = ["--evaluation-set", str(measured / "set.json"), "--root", str(measured)]
    assert main(["show", "evaluation", str(measured / "results"), *given, "--out", str(tmp_path)]) == 0
    page = read_page(tmp_path)
    loaded = load_evaluation_set(measured / "set.json")
    result = read_result(measured / "results")
    ranked = sorted(result.examples, key=lambda row: -row.sdri_db)
    assert len(page.sounds) == 12
    for place, row in enumerate(ranked):
        mixture, target = render_entries(loaded, [loaded.entries[row.index]], root=measured)
        sounds = [mixture[0], target[0], 0.7 * mixture[0], mixture[0] - 0.7 * mixture[0]]
        for (_, heard, rate), sound in zip(page.sounds[4 * place :], sounds, strict=False):
            assert rate == RATE
            # 0.7 has another precision here.
            assert np.abs(heard[:, 0] - quantise(np.asarray(sound), 16)).max() <= 1
        assert f"SDRi {row.sdri_db:.2f} dB" in page.sounds[4 * place + 2][0]
    assert "The mixture of the lowest SDRi: “<b>sound</b>" in page.text
    assert {f"spectrograms-{place}.png" for place in ("best", "median", "worst")} < {
        path.name for path in tmp_path.iterdir()
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factor": 0.3}, "give the evaluated model as --checkpoint"),
        ({"factor": 0.7, "rate": 16000}, "works at 8000 Hz, and this one at 16000 Hz"),
    ],
)
def test_another_model_than_the_evaluated_one_is_refused(
    measured, tmp_path, monkeypatch, capsys, change, message
):
    a_model(monkeypatch, **change)
    given = ["--evaluation-set", str(measured / "set.json"), "--root", str(measured)]
    out = tmp_path / "out"
    assert main(["show", "evaluation", str(measured / "results"), *given, "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_another_set_than_the_evaluated_one_is_refused(measured, tmp_path, capsys):
    values = json.loads((measured / "set.json").read_text("utf-8"))
    values["entries"][2]["caption"] = "something else"
    (tmp_path / "set.json").write_text(json.dumps(values), "utf-8")
    given = ["--evaluation-set", str(tmp_path / "set.json"), "--root", str(measured)]
    assert main(["show", "evaluation", str(measured / "results"), *given, "--out", str(tmp_path / "o")]) == 2
    assert "give the set of the evaluation" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def without(name):
    def change(values):
        del values[name]

    return change


def with_row(**row):
    def change(values):
        values["examples"][0].update(row)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("overall"), "is not a result of audiosep evaluate"),
        (with_row(sdri_db=float("nan")), "a finite number is needed"),
        (with_row(sdri_db="high"), "type float is needed"),
        (with_row(colour="red"), "unknown field"),
        (lambda values: values["examples"][1].pop("query"), r"examples\[1\] is damaged"),
        (lambda values: values.update(classes={}), "classes is no list"),
        (lambda values: values.update(examples=[]), "holds no mixture"),
        (lambda values: values["overall"].pop("count"), "overall is damaged"),
    ],
)
def test_a_damaged_result_is_one_sentence_and_nothing_is_written(tmp_path, capsys, change, message):
    values = json.loads(json.dumps(dataclasses.asdict(evaluation(["dog", "cat"]))))
    change(values)
    (tmp_path / "result.json").write_text(json.dumps(values), "utf-8")
    assert main(["show", "evaluation", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_users_mistakes_with_evaluations(tmp_path, capsys):
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "result.json").write_text('{"set_name": ', "utf-8")
    report.write_json(evaluation(["dog"]), tmp_path / "good" / "result.json")
    report.write_json(evaluation(["dog"]), tmp_path / "picture" / "result.json")
    (tmp_path / "picture" / "spectrograms-worst.png").write_bytes(b"GIF89a")
    for folder, arguments, said in [
        ("nowhere", [], "nowhere holds no result.json"),
        ("damaged", [], "result.json cannot be read"),
        ("picture", [], "spectrograms-worst.png is no PNG file"),
        ("good", ["--root", "."], "--evaluation-set and --root belong together"),
        ("good", ["--checkpoint", "x"], "--checkpoint needs --evaluation-set"),
    ]:
        out = tmp_path / "out"
        assert main(["show", "evaluation", str(tmp_path / folder), *arguments, "--out", str(out)]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_kinds_bounds_gains_and_other_folders_are_on_one_page(measured, tmp_path, monkeypatch):
    a_model(monkeypatch, factor=0.7)
    values = json.loads((measured / "set.json").read_text("utf-8"))
    kinds = {"c0": "one/kind", "c1": "two", "c2": "two"}
    (tmp_path / "set.json").write_text(json.dumps({**values, "kinds": kinds}), "utf-8")
    loaded = load_evaluation_set(tmp_path / "set.json")
    arguments = {"root": measured, "encode": encode, "model_sample_rate_hz": RATE, "model": "0.7"}
    results = [
        evaluate(loaded, apply=lambda m, c: np.float32(0.7) * m, gain_db=gain, **arguments)
        for gain in (0.0, -20.0)
    ]
    bounds = measure_bounds(
        loaded, root=measured, model_sample_rate_hz=RATE, window_length=128, hop_length=64
    )
    report.write_json(results[0], tmp_path / "in" / "result.json")
    report.write_json_list(results[1:], tmp_path / "in" / "gains.json")
    report.write_json_list(bounds, tmp_path / "in" / "bounds.json")
    folders = [str(tmp_path / "in"), str(measured / "results")]
    given = ["--evaluation-set", str(tmp_path / "set.json"), "--root", str(measured)]
    assert main(["show", "evaluation", *folders, *given, "--out", str(tmp_path / "out")]) == 0
    page = read_page(tmp_path / "out")
    compared, of_kinds, gains, of_bounds, classes, other = page.tables
    assert [row[0] for row in compared] == ["evaluation", "0.7 on three", "0.7 on three"]
    assert compared[0][-4:] == ["low-pass", "half", "ratio mask", "phase-sensitive mask"]
    assert compared[1][-3] == f"{bounds[1].overall.sdri_db.mean:.2f}"
    assert compared[2][-4:] == ["–"] * 4
    assert {row[0] for row in of_kinds[1:]} == {"all", "one/kind", "two"}
    assert len(of_kinds[1]) == len(of_kinds[0]) == 12
    assert [row[0] for row in gains[1:]] == ["0 dB", "-20 dB"]
    assert [row[0] for row in of_bounds[1:]] == [one.model for one in bounds]
    assert {row[0] for row in classes[1:]} == {row[0] for row in other[1:]} == {"all", "c0", "c1", "c2"}
    # one/kind has one mixture, two has two: three mixtures with three sounds and a residual each.
    assert len(page.sounds) == 12
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"kinds.png", "spectrograms-best-one_kind.png", "spectrograms-median-two.png"} <= names
    assert "The mixture of median SDRi of kind two: “" in page.text


def test_many_examples_have_coarse_pictures_and_no_residual(measured, tmp_path, monkeypatch):
    a_model(monkeypatch, factor=0.7)
    monkeypatch.setattr(evaluation_page, "FEW_EXAMPLES", 2)
    monkeypatch.setattr(evaluation_page, "SOUNDS_BYTES", 50_000)
    given = ["--evaluation-set", str(measured / "set.json"), "--root", str(measured)]
    assert main(["show", "evaluation", str(measured / "results"), *given, "--out", str(tmp_path)]) == 0
    page = read_page(tmp_path)
    assert len(page.sounds) == 9
    assert not [label for label, _, _ in page.sounds if "residual" in label]
    assert all(len(heard) < RATE // 4 for _, heard, _ in page.sounds)
    width = int.from_bytes((tmp_path / "spectrograms-best.png").read_bytes()[16:20], "big")
    assert width < 700


def test_bounds_and_gains_of_another_set_are_refused(measured, tmp_path, capsys):
    result = read_result(measured / "results")
    report.write_json(result, tmp_path / "result.json")
    for name, results, said in [
        ("gains.json", [dataclasses.replace(result, set_name="other")], "is of another evaluation set"),
        ("bounds.json", [result], "holds 1 results, not 4"),
    ]:
        report.write_json_list(results, tmp_path / name)
        assert main(["show", "evaluation", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
        (tmp_path / name).write_text("{}", "utf-8")
        assert main(["show", "evaluation", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
        assert "is no list of results" in capsys.readouterr().err
        (tmp_path / name).unlink()


def test_results_of_earlier_releases_are_read(measured, tmp_path):
    values = json.loads((measured / "results" / "result.json").read_text("utf-8"))
    for name in ("kinds", "gain_db"):
        del values[name]
    for row in values["examples"]:
        del row["kind"]
    (tmp_path / "result.json").write_text(json.dumps(values), "utf-8")
    assert read_result(tmp_path) == read_result(measured / "results")
