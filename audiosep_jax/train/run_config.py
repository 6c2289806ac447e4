"""The config fields that may change when a run is resumed."""

import os
from typing import Any

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import TrainingError, listed
from audiosep_jax.utils.serialization import to_dict

FREE_FIELDS = {
    "model": {"working_level_db"},  # only separations use it
    "data": {"read_threads", "prefetch"},
    "mesh": {"replica", "data", "fsdp"},
    # Without `compute` and `microbatches`, which change the result of a step.
    "execution": {"remat", "lanes"},
    "train": {
        "log_every",
        "save_every",
        "save_minutes",
        "evaluate_every",
        "keep_checkpoints",
        "keep_every",
        "validation_mixtures",
        "audio_examples",
        # It applies from now on: a run that "stop" ended may resume with "skip".
        "on_non_finite",
        "spike_deviations",
        "profile_steps",
    },
}
"""Fields that may change: they change the result of a step only by the rounding of sums."""


def refuse_other_runs(workdir: os.PathLike, *, was: dict[str, Any], config: ExperimentConfig) -> None:
    """Raises TrainingError if a checkpoint's config differs from this run's in a field that must not change.

    `was` is the config in the checkpoint, as `to_dict` made it.
    """
    now, defaults = to_dict(config), to_dict(ExperimentConfig())

    def before(part: str, name: str) -> Any:
        # A field that older checkpoints lack had its default, which is the behaviour of that time.
        return was.get(part, {}).get(name, defaults[part][name])

    differences = [
        f"{part}.{name} was {before(part, name)!r} and is {value!r}"
        for part, fields in now.items()
        if isinstance(fields, dict)
        for name, value in fields.items()
        if name not in FREE_FIELDS.get(part, ()) and before(part, name) != value
    ]
    if differences:
        raise TrainingError(
            f"{os.fspath(workdir)} holds a run of another config ({listed(differences, separator='; ')}): "
            "choose another --workdir, or the config it was started with."
        )
