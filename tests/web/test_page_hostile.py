"""Hostile uploads over HTTP: each ends in a sentence or a right result, and no file is left."""

import importlib.util
import io
import json

import numpy as np
import pytest
import soundfile
from hostile_sounds import REFUSED, RIGHT
from hostile_uploads import cases
from web_server import served

pytestmark = [
    pytest.mark.extras,
    pytest.mark.web,
    pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="the extra web is not installed"),
]
CASES, SEED, MOST_BYTES, MOST_SECONDS = 250, 20, 3_000_000, 30.0


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    options = ("--max-seconds", str(MOST_SECONDS), "--max-megabytes", str(MOST_BYTES / 1e6))
    with served(tmp_path_factory.mktemp("hostile"), *options, "--keep-minutes", "0.5") as page:
        yield page


def is_clear(sentence, page):
    """Whether an error is one line and shows nothing of the server's disk or code."""
    return (
        isinstance(sentence, str)
        and 10 < len(sentence) < 600
        and "\n" not in sentence
        and not any(told in sentence for told in (str(page.folder), "/uploads/", "Traceback", "Error("))
    )


def is_right(answer, content, page):
    mixture, rate = soundfile.read(io.BytesIO(content), dtype="float64", always_2d=True)
    parts = []
    for name in ("estimate", "residual"):
        part, part_rate = soundfile.read(
            io.BytesIO(page.get(answer[name])[1]), dtype="float64", always_2d=True
        )
        if part_rate != rate or part.shape != mixture.shape or not np.isfinite(part).all():
            return False
        parts.append(part)
    return np.allclose(sum(parts), mixture, rtol=0, atol=1e-6 * max(1.0, np.abs(mixture).max()))


def test_hostile_uploads(page):
    outcomes, wrong = {}, []
    for case in cases(CASES, SEED, most_bytes=MOST_BYTES, most_seconds=MOST_SECONDS):
        status, place = page.upload(case.content, case.name)
        if status != 200:
            said = place.get("detail") if isinstance(place, dict) else place
            outcome = (
                "refused" if 400 <= status < 500 and is_clear(said, page) else f"upload {status}: {said!r}"
            )
        else:
            answer = page.separate(place, case.query, case.without)
            if "error" in answer:
                outcome = "error" if is_clear(answer["error"], page) else f"unclear: {answer['error']!r}"
            else:
                outcome = "result" if is_right(answer, case.content, page) else "wrong result"
        described = any(text.strip() for text in (case.query, case.without))
        too_long = max(len(case.query), len(case.without)) > 1000
        if case.expected == REFUSED or too_long or not described or case.name.endswith(".raw"):
            expected = {"error", "refused"}  # libsndfile takes .raw for a file without a header
        else:
            expected = {"result"} if case.expected == RIGHT else {"result", "error"}
        if outcome not in expected and not (outcome == "refused" and "\n" in case.name):
            wrong.append((case.kind, case.name[:40], case.query[:20], case.without[:20], outcome))
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert not wrong, json.dumps(wrong, indent=1, ensure_ascii=False)
    assert page.process.poll() is None
    assert "Traceback" not in page.said
    assert min(outcomes[kind] for kind in ("result", "error", "refused")) > 5, outcomes
    page.wait_until_nothing_is_left(120)
