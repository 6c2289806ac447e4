import json

import numpy as np
import pytest
from report_parts import HOSTILE, read_page, write_run

from audiosep_jax.cli.main import main
from audiosep_jax.errors import AudioSepError
from audiosep_jax.plotting.style import MOST_LINES, line_styles
from audiosep_jax.reports import curves, run_page
from audiosep_jax.reports.run_record import names, read_run, smoothed

FILES = ["course.png", "loss.png", "report.html", "validation.png"]


def lines_of(axis, *, marker=None):
    return [line for line in axis.get_lines() if marker is None or line.get_marker() == marker]


def test_a_record_is_read_with_its_spikes_and_skips(tmp_path):
    losses = write_run(tmp_path / "run")
    record = read_run(tmp_path / "run", name="run")
    curve = record.curve("loss")
    assert dict(zip(curve.steps, curve.values, strict=True)) == losses
    assert list(record.curve("validation/sdri_db").steps) == [300, 600, 900]
    # A step is an index in the record of spikes, and a count everywhere else; two processes saw it.
    assert (record.spikes, record.skipped, record.last_step) == (((100, 7.5),), (150,), 900)


def test_curves_carry_every_point_and_the_stated_mean(tmp_path):
    losses = write_run(tmp_path / "run")
    record = read_run(tmp_path / "run", name="run $x$")
    axis = curves.draw_loss([record], smooth=5).axes[0]
    points, mean, spikes, skipped = lines_of(axis)[:4]
    np.testing.assert_array_equal(points.get_xydata(), sorted(losses.items()))
    values = np.array(list(losses.values()))
    np.testing.assert_allclose(mean.get_ydata()[10], values[8:13].mean())
    np.testing.assert_allclose(mean.get_ydata()[0], values[:3].mean())
    # The spike is far above the curve: it is drawn at the edge, and the table has its loss.
    assert spikes.get_xdata() == [100]
    assert values.max() < spikes.get_ydata()[0] < 7.5
    assert skipped.get_xdata() == [150]
    legend = [one.get_text() for one in axis.get_legend().get_texts()]
    assert legend == [" run $x$ (mean of 5 records)", "spike", "skipped step"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("steps taken", "loss")


def test_validation_and_course_show_every_run_with_units(tmp_path):
    for number in range(3):
        write_run(tmp_path / f"_run{number}", seed=number, records=30 + number)
    records = [read_run(tmp_path / f"_run{number}", name=f"_run{number}") for number in range(3)]
    figure = curves.draw_validation(records)
    assert [axis.get_ylabel() for axis in figure.axes] == ["SDRi (dB)", "SI-SDRi (dB)"]
    assert [one.get_text() for one in figure.axes[0].get_legend().get_texts()] == [
        " _run0",
        " _run1",
        " _run2",
    ]
    np.testing.assert_array_equal(lines_of(figure.axes[0])[0].get_xydata(), [(300, 1.5), (600, 3.0)])
    rings = [line for line in lines_of(figure.axes[0]) if line.get_markersize() > 10]
    assert [tuple(ring.get_xydata()[0]) for ring in rings] == [(600, 3.0)] * 3
    course = curves.draw_course(records)
    assert [axis.get_ylabel() for axis in course.axes] == [row[1] for row in curves.COURSE]
    assert course.axes[1].get_yscale() == "log"
    assert lines_of(course.axes[2])[0].get_ydata() == pytest.approx(1.0)  # per cent
    assert course.axes[2].get_ylim() == (0, 5)


def test_one_page_for_several_runs(tmp_path, capsys):
    hostile = "<script>alert('x')<&$"
    write_run(tmp_path / "a" / hostile)
    write_run(tmp_path / "b" / hostile, seed=1, spikes=False)
    folders = [str(tmp_path / one / hostile) for one in "ab"]
    assert main(["show", "run", *folders, "--out", str(tmp_path / "out"), "--smooth", "3"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "out" / "report.html")
    page = read_page(tmp_path / "out")
    for name, (_, content) in zip(("loss.png", "validation.png", "course.png"), page.pictures, strict=True):
        assert (tmp_path / "out" / name).read_bytes() == content
    assert f"a/{hostile}, b/{hostile}" in page.text
    assert "mean of 3 neighbouring records" in page.text
    summary = {row[0]: row for row in page.tables[0]}
    assert summary[f"a/{hostile}"][1:3] == ["900", "48"]
    assert summary[f"a/{hostile}"][5:8] == ["4.50", "900", "4.50"]
    assert [summary[f"{one}/{hostile}"][-2:] for one in "ab"] == [["1", "1"], ["0", "0"]]
    assert ["100", "spike", "7.5"] in page.tables[3]
    assert ["150", "skipped", "–"] in page.tables[3]
    assert len(page.tables[2]) == 46  # every training record, and the head


def test_an_incomplete_record_with_gaps_is_shown_with_notes(tmp_path, monkeypatch):
    monkeypatch.setattr(run_page, "MOST_ROWS", 10)
    write_run(tmp_path / "run")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 920, "loss": NaN, "gradient_norm": Infinity}\n{"step": 940, "loss": -5')
    record = read_run(tmp_path / "run", name=HOSTILE)
    assert (record.cut_off, record.last_step) == (True, 920)
    run_page.write_runs([record], tmp_path / "out")
    page = read_page(tmp_path / "out")
    shown = HOSTILE.replace("\x00", "\ufffd")
    assert page.tables[0][1][0] == shown
    assert f"{shown}: the last line of its record is incomplete" in page.text
    assert f"{shown}: 2 values of its record not finite; gaps in the curves." in page.text
    # The table of a long record is thinned so that the newest line stays.
    assert "Every 5th of 46." in page.text
    assert [row[0] for row in page.tables[2][1:]] == [str(step) for step in range(20, 921, 100)]
    assert page.tables[2][-1][:2] == ["920", "nan"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"run holds no metrics\.jsonl: give the --workdir of audiosep train"),
        ("", "holds no numbers yet"),
        (
            '{"step": 1, "loss": 1}\n{"step": 2, "lo\n{"step": 3, "loss": 1}\n',
            r"metrics\.jsonl, line 2 is damaged",
        ),
        ('{"loss": 1}\n{"step": 2}\n', 'line 1 is damaged .it is no JSON object with a number "step"'),
        ("[1]\n\n", "line 1 is damaged"),
        ('{"step": NaN}\n', 'its "step" is not finite'),
        ('{"step": 1, "loss": "low"}\n', "line 1: a value is no number"),
        ('{"step": 1, "share": 1}\n', "has recorded neither loss nor validation"),
        ("[" * 100_000 + "\n", "line 1 is damaged"),
    ],
)
def test_an_unusable_record_is_one_sentence_and_nothing_is_written(tmp_path, capsys, content, message):
    (tmp_path / "run").mkdir()
    if content is not None:
        (tmp_path / "run" / "metrics.jsonl").write_text(content)
    with pytest.raises(AudioSepError, match=message):
        run_page.write_runs([read_run(tmp_path / "run", name="run")], tmp_path / "out")
    assert main(["show", "run", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("audiosep: error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_users_mistakes_with_runs(tmp_path, capsys):
    write_run(tmp_path / "run")
    run = str(tmp_path / "run")
    for arguments, said in [
        ([run, f"{tmp_path}/./run"], "is given twice"),
        ([run, "--smooth", "0"], "--smooth is 0"),
        ([str(tmp_path / "nowhere")], "holds no metrics.jsonl"),
        ([], "name at least one work directory"),
        (["s3://bucket/run"], "s3:// is not supported"),
    ]:
        assert main(["show", "run", *arguments, "--out", str(tmp_path / "out")]) == 2, arguments
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "file").write_text("mine")
    assert main(["show", "run", run, "--out", str(tmp_path / "file")]) == 2
    assert "cannot be written as a folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_runs_are_named_by_the_ends_of_their_paths_that_differ():
    assert names(["/x/a/run", "/x/b/run"]) == ["a/run", "b/run"]
    assert names(["/x/one", "/y/two"]) == ["one", "two"]
    assert names(["gs://bucket/one"]) == ["one"]


def test_no_two_lines_look_the_same():
    assert len(set(line_styles(MOST_LINES))) == MOST_LINES
    with pytest.raises(AudioSepError, match="cannot be told apart: give at most 24"):
        line_styles(MOST_LINES + 1)


def test_smoothing_averages_finite_values():
    values = np.array([1.0, np.nan, 3.0, 5.0])
    np.testing.assert_allclose(smoothed(values, 3), [1.0, 2.0, 4.0, 4.0])
    np.testing.assert_array_equal(smoothed(values, 1), values)
    assert len(smoothed(np.array([]), 3)) == 0


def test_a_curve_is_json_lines_of_the_loop():
    """The loop writes the fields that are drawn."""
    from audiosep_jax.train.progress import RunProgress

    class Still:
        def seconds(self):
            return dict.fromkeys(("data", "host", "device", "save"), 0.0)

        def busy_seconds(self):
            return 0.0

    progress = RunProgress(2, 0, 4, clock=Still(), device=Still(), quiet=True)
    progress.stepped(0, -1.0, 2.0, ["text"] * 4)
    numbers = progress.summary(1)
    drawn = {"loss", *(row[0] for row in curves.COURSE)} - {"learning_rate"}
    assert drawn <= set(json.loads(json.dumps(numbers)))
