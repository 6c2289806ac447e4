import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.mixture_draws")


def test_it_counts_and_prints(benchmark, tmp_path):
    table = tmp_path / "clips.csv"
    rows = [f"{n}.wav,{'a dog|barking' if n < 4 else 'rain'},{n // 4}" for n in range(8)]
    table.write_text("\n".join(["file,captions,label", *rows]), "utf-8")
    clips = benchmark.read_corpus(table)
    assert clips[0].captions == ("a dog", "barking")
    assert benchmark.expected_share(clips) == pytest.approx(2 * 4 * 3 / (8 * 7))
    printed = benchmark.report(benchmark.BenchmarkArgs(table=table, mixtures=70))
    assert "70 mixtures of 2 from 8 clips" in printed
    assert "30 pairs expected" in printed
    found = {
        line.split("|")[1].strip(): line.split("|")[2].strip() for line in printed.splitlines() if "|" in line
    }
    assert 10 < int(found["none"]) < 50
    assert found["caption"] == found["caption, label"] == "0"


def test_a_clip_of_overlapping_captions_is_counted_once(benchmark):
    clips = [
        benchmark._clip(str(n), captions) for n, captions in enumerate((("a", "b"), ("b", "A"), ("b",), ()))
    ]
    assert benchmark.expected_share(clips) == pytest.approx(6 / 12)


def test_the_synthetic_corpus_is_uneven(benchmark):
    clips = benchmark.make_corpus(1_000)
    assert len(clips) == 1_000
    assert 0.03 < benchmark.expected_share(clips) < 0.12
