"""Takes of one freesound sound are one recording, in evaluations, sweeps and benchmarks."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from audiosep_jax.evals.evaluate import summarise
from audiosep_jax.evals.evaluation_set import Entry, EvaluationSet, Source
from audiosep_jax.evals.measure import Measurements
from audiosep_jax.evals.source_recordings import recording_of
from audiosep_jax.evals.statistics import bootstrap_interval

ESC10 = Path(__file__).parents[2] / "experiments" / "evaluation" / "esc10_fold4.json"


@pytest.mark.parametrize(
    ("file", "recording"),
    [
        ("1-100032-A-0.wav", "100032"),
        ("004 - Rain/4-17367-C.ogg", "17367"),
        ("rain\\4-17367-B-10.flac", "17367"),
        ("4-17367.wav", "4-17367.wav"),
        ("a/4-17367-take.wav", "a/4-17367-take.wav"),
        ("4-17367-A-10-x.wav", "4-17367-A-10-x.wav"),
        ("a/0.wav", "a/0.wav"),
    ],
)
def test_names_of_esc_hold_the_recording(file, recording):
    assert recording_of(file) == recording


def test_the_set_of_esc10_has_fewer_recordings_than_files():
    entries = json.loads(ESC10.read_text())["entries"]
    files = {entry["target"]["file"] for entry in entries if not entry.get("absent_caption")}
    assert (len(files), len(set(map(recording_of, files)))) == (80, 59)


def test_intervals_of_an_evaluation_draw_takes_of_one_recording_together():
    values = np.random.default_rng(0).standard_normal(24)
    entries = tuple(
        Entry(
            target=Source(file=f"4-{index // 6}-{'ABC'[index % 3]}.ogg", label="rain"),
            interferer=Source(file="wind.ogg", label="wind"),
            caption="rain",
            absent_caption="a dog" if half else "",
        )
        for half in (0, 1)
        for index in range(24)
    )
    given = EvaluationSet(name="takes", sample_rate_hz=8000, seconds=1.0, seed=0, entries=entries)
    twice = np.concatenate([values, values])
    names = {field.name for field in dataclasses.fields(Measurements)} - {"absent"}
    measured = Measurements(absent=np.arange(48) >= 24, **dict.fromkeys(names, twice))
    result = summarise(given, measured, model="", model_sample_rate_hz=8000)
    recordings = [str(index // 6) for index in range(24)]
    assert result.overall.sdri_db == bootstrap_interval(values, groups=recordings)
    assert result.classes[0].si_sdr_db == bootstrap_interval(values, groups=recordings)
    assert result.absent_attenuation_db == bootstrap_interval(-values, groups=recordings)
