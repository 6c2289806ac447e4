import pytest
from benchmark_models import random_checkpoint

from audiosep_jax.encoders import base
from audiosep_jax.errors import AudioSepError
from benchmarks import suites


@pytest.fixture(autouse=True)
def _letters(monkeypatch):
    monkeypatch.setitem(base.ENCODERS, "letters", "benchmark_models")


@pytest.mark.slow
def test_both_ways_are_timed_on_the_same_mixtures_and_agree(tmp_path, capsys):
    args = suites.BenchmarkArgs(
        mixtures=4,
        seconds=0.5,
        workdir=tmp_path / "work",
        checkpoint=random_checkpoint(tmp_path / "m"),
        part=2,
    )
    table = suites.report(args)
    assert "4 mixtures of 0.5 s" in table
    assert "over 2 parts" in table
    largest = float(table.split("Largest difference of an SDRi: ")[1].split(" dB")[0])
    assert largest < 1e-3
    assert capsys.readouterr().out.count(" of 4: ") == 2
    # A run that was cut off goes on with the times that it has.
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*-*.wav")}
    next(iter((tmp_path / "work" / "times").glob("*-2.json"))).unlink()
    assert "4 mixtures of 0.5 s" in suites.report(args)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*-*.wav")} == kept


def test_too_few_recordings_are_named(tmp_path):
    args = suites.BenchmarkArgs(sounds=tmp_path, workdir=tmp_path / "work")
    with pytest.raises(AudioSepError, match="holds 0 recordings: two are needed"):
        suites.report(args)
