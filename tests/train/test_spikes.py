"""Loss spikes and skipped steps: their detection and their record."""

import json
import random

import numpy as np
import pytest

from audiosep_jax.errors import AudioSepError
from audiosep_jax.train.spikes import (
    MOST_SKIPPED_IN_A_ROW,
    SMALLEST_WINDOW,
    WINDOW,
    SpikeDetector,
    StepWatch,
)
from audiosep_jax.train.step import StepMetrics
from audiosep_jax.train.workdir import Workdir
from audiosep_jax.train.writers import JsonLines
from data_pipelines.mixtures.pipeline import MixtureBatch


@pytest.fixture
def lines(tmp_path):
    lines = JsonLines(Workdir(tmp_path), "spikes.jsonl", start_step=0, counted=0)
    yield lines
    lines.close()


def noisy(count, seed=0):
    draw = random.Random(seed)
    return [2 + 0.1 * draw.gauss(0, 1) for _ in range(count)]


def metrics(loss, skipped=0):
    values = {"loss": loss, "gradient_norm": 1.0, "failed_step": -1, "skipped": skipped}
    return StepMetrics(**{name: np.asarray(value) for name, value in values.items()})


def batch(step):
    return MixtureBatch(
        step=step,
        segments=np.zeros((2, 2, 4), np.float32),
        gains_db=np.zeros((2, 2), np.int32),
        level_db=np.zeros(2, np.float32),
        absent=np.zeros(2, bool),
        condition=np.zeros((2, 3), np.float32),
        captions=("a dog", ""),
        modality=("text", "audio"),
        ids=(("dog.wav", "rain.wav"), ("cat.wav", "bell.wav")),
    )


def test_a_spike_has_mean_and_deviation_of_the_losses_before():
    losses = noisy(100)
    detector = SpikeDetector(6.0)
    assert not any(detector.look(loss) for loss in losses)
    mean, deviation = np.mean(losses), np.std(losses)
    assert detector.look(mean + 5.9 * deviation) is None
    losses.append(mean + 5.9 * deviation)
    spike = detector.look(np.mean(losses) + 6.1 * np.std(losses))
    assert spike is not None
    np.testing.assert_allclose([spike["mean"], spike["deviation"]], [np.mean(losses), np.std(losses)])


def test_a_falling_loss_is_no_spike_and_a_high_one_only_at_first():
    detector = SpikeDetector(6.0)
    assert not any(detector.look(5 * 0.9**step + loss) for step, loss in enumerate(noisy(300)))
    found = [bool(detector.look(3 + loss)) for loss in noisy(WINDOW)]
    assert found[0]
    assert not any(found[20:])


def test_early_losses_are_no_spikes_and_zero_finds_none():
    detector = SpikeDetector(1.0)
    assert not any(detector.look(2.0**step) for step in range(SMALLEST_WINDOW))
    detector = SpikeDetector(0.0)
    assert not any(detector.look(loss) for loss in [*noisy(100), 1e9])


def test_the_record_names_step_and_files(tmp_path, lines):
    watch = StepWatch(lines, deviations=6.0, skipped=0)
    assert all(watch.look(step, metrics(loss), batch(step)) for step, loss in enumerate(noisy(50)))
    assert not (tmp_path / "spikes.jsonl").exists()
    assert watch.look(50, metrics(7.5), batch(50))
    (line,) = map(json.loads, (tmp_path / "spikes.jsonl").read_text().splitlines())
    assert (line["step"], line["loss"], line["skipped"]) == (50, 7.5, False)
    assert (line["mean"], line["deviation"]) == (
        pytest.approx(2, abs=0.05),
        pytest.approx(0.1, abs=0.05),
    )
    assert line["examples"] == [
        {"caption": "a dog", "modality": "text", "files": ["dog.wav", "rain.wav"]},
        {"caption": "", "modality": "audio", "files": ["cat.wav", "bell.wav"]},
    ]


def test_skipped_steps_are_recorded_and_too_many_in_a_row_end_the_run(tmp_path, lines):
    watch = StepWatch(lines, deviations=6.0, skipped=4)
    assert watch.look(0, metrics(1.0, skipped=4), batch(0))
    for step in range(1, MOST_SKIPPED_IN_A_ROW):
        assert not watch.look(step, metrics(np.nan, skipped=4 + step), batch(step))
    assert watch.look(90, metrics(1.0, skipped=watch.skipped), batch(90))
    for step in range(100, 99 + MOST_SKIPPED_IN_A_ROW):
        assert not watch.look(step, metrics(np.inf, skipped=watch.skipped + 1), batch(step))
    with pytest.raises(AudioSepError) as error:
        watch.look(step + 1, metrics(2.0, skipped=watch.skipped + 1), batch(step + 1))
    assert f"steps 100 to {99 + MOST_SKIPPED_IN_A_ROW} were all skipped" in str(error.value)
    assert "bell.wav, cat.wav, dog.wav, rain.wav" in str(error.value)
    written = [json.loads(line) for line in (tmp_path / "spikes.jsonl").read_text().splitlines()]
    assert len(written) == 2 * MOST_SKIPPED_IN_A_ROW - 1
    assert {line["loss"] for line in written} == {None, 2.0}  # a gradient may be what was not finite


def test_a_resumed_run_drops_the_lines_of_later_steps(tmp_path, lines):
    for step in (3, 7, 8):
        lines.write({"step": step})
    lines.close()
    JsonLines(Workdir(tmp_path), "spikes.jsonl", start_step=7, counted=0).close()
    assert (tmp_path / "spikes.jsonl").read_text() == '{"step": 3}\n'
