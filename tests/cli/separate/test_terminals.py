"""`audiosep separate` with one stream on a terminal and the other in a file."""

import json
import os
import sys
import threading

import pytest
from separation_models import scene_file

from audiosep_jax.cli.main import main


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_results_go_into_the_file_while_the_bar_is_on_the_terminal(ready, monkeypatch, more):
    scene_file(ready / "a.wav", 0.3)
    main_end, other_end = os.openpty()
    shown = []

    def drain():
        while True:
            try:
                shown.append(os.read(main_end, 4096))
            except OSError:  # the other end is closed
                return

    thread = threading.Thread(target=drain)
    thread.start()
    with monkeypatch.context() as patch, (ready / "out").open("w") as file, open(other_end, "w") as terminal:
        patch.setattr(sys, "stdout", file)
        patch.setattr(sys, "stderr", terminal)
        patch.setenv("TERM", "xterm")
        assert main(["separate", "a.wav", "--query", "dog", *more]) == 0
    thread.join(10)
    os.close(main_end)
    lines = (ready / "out").read_text().splitlines()
    assert len(lines) == 2
    if more:
        assert [json.loads(line).get("status") for line in lines] == ["done", None]
    else:
        assert lines[0].startswith("separated/a.dog.estimate.wav  (")
    assert b"a.wav" in b"".join(shown)  # the bar was there
    assert b"estimate.wav" not in b"".join(shown)
