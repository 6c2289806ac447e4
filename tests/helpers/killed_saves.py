"""Kills saves of a checkpoint at every step that they take: python killed_saves.py FOLDER EXCHANGE.

EXCHANGE is "yes" or "no": whether the system exchanges two folders in one step. Every save is a process of
its own, forked from this one, and replaces a model that lies beside other files. Prints how many were killed.
"""

import dataclasses
import itertools
import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np

from audiosep_jax.checkpoints import folder
from audiosep_jax.config import ExperimentConfig, ModelConfig, TrainConfig
from audiosep_jax.models import separator
from audiosep_jax.utils import staging

CONFIG = ExperimentConfig(
    name="small", model=ModelConfig(window_length=16, hop_length=5, encoder_widths=(2, 3), condition_size=4)
)
STEPS = ("os.", "open", "shutil.", "fcntl.")


def save(place, level, shapes):
    """Saves a model whose weights are all `level`, and whose config says so, too."""
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, level, np.float32), shapes)
    config = dataclasses.replace(CONFIG, train=TrainConfig(steps=level))
    folder.save(place, config, variables)


def level_of(place):
    """Returns the level of a model, whose config and weights must agree."""
    loaded = folder.load(place)
    levels = {float(number) for leaf in jax.tree.leaves(loaded.variables) for number in leaf.flat}
    assert levels == {loaded.config.train.steps}, levels
    return loaded.config.train.steps


def killed(at, *arguments):
    """Saves in a process that is killed at its step `at`; returns whether it came that far."""
    pid = os.fork()
    if pid == 0:
        steps = 0

        def count(event, _):
            nonlocal steps
            steps += event.startswith(STEPS)
            if steps == at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        save(*arguments)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status != 0


def main(place, exchange):
    if exchange == "no":
        staging._exchange = lambda *_: False
    shapes = separator.shapes(CONFIG.model)
    save(place, 1, shapes)
    (place / "tower").mkdir()
    (place / "tower" / "words.txt").write_text("words")
    (place / "README.md").symlink_to("tower/words.txt")
    before = 1
    for at in itertools.count(1):
        new = at + 1
        more = killed(at, place, new, shapes)
        level = level_of(place)
        assert level in ((before, new) if more else (new,)), (at, level)
        assert (place / "README.md").read_text() == (place / "tower" / "words.txt").read_text() == "words"
        assert (place / "README.md").is_symlink()
        before = level
        if not more:
            break
    # A room without a lock, which was not yet or not any more in use, stays; nothing is in it.
    left = {file.name for room in place.parent.glob(".*") for file in room.iterdir()}
    assert left <= {".lock"}, left
    print(at - 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
