"""The table of definitions: each change of the estimates has the effect that docs/metrics.md documents."""

import numpy as np
import pytest

from benchmarks.metric_definitions import COLUMNS, changes, values


@pytest.mark.extras
def test_each_change_has_the_documented_effect():
    rng = np.random.default_rng(0)
    target, other = rng.standard_normal((2, 8000))
    mixture, estimate = target + other, 0.9 * target + 0.2 * other
    rows = {
        name: dict(zip(COLUMNS, values(target, change(estimate, mixture), mixture), strict=True))
        for name, change in changes(16_000).items()
    }
    plain = rows["estimate"]
    assert rows["the mixture itself"]["SDRi"] == 0
    half = rows["estimate, half as loud"]
    assert half["SDR"] < plain["SDR"] - 3
    for name in ("SI-SDR", "BSSEval SDR"):
        assert half[name] == pytest.approx(plain[name], abs=1e-6)
    late = rows["estimate, 1 ms late"]
    assert late["SI-SDR"] < 0
    assert late["BSSEval SDR"] == pytest.approx(plain["BSSEval SDR"], abs=1)
    offset = {name: row for name, row in rows.items() if "offset" in name}.popitem()[1]
    assert offset["SI-SDR, mean removed"] == pytest.approx(plain["SI-SDR, mean removed"], abs=1e-6)
    assert offset["SDR"] < plain["SDR"]
