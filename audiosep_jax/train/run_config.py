"""Which fields of a config may change when a run is taken up again."""

import os
from typing import Any

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.errors import TrainingError
from audiosep_jax.utils.serialization import to_dict

FREE_FIELDS = {
    "data": {"read_threads", "prefetch"},
    "mesh": {"replica", "data", "fsdp"},
    # Not `compute` and `microbatches`: they decide what a step computes, not only where and how.
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
        # What happened so far happened under the old one; a run that "stop" ended may go on with "skip".
        "on_non_finite",
        "spike_deviations",
        "profile_steps",
    },
}
"""Fields that may change: they do not touch what a step computes, but for the rounding of sums."""


def refuse_other_runs(workdir: os.PathLike, *, was: dict[str, Any], config: ExperimentConfig) -> None:
    """Raises AudioSepError where a checkpoint's config differs from this run's in a field that is not free.

    Args:
      workdir: the run's, for the error.
      was: the config in the checkpoint, as `to_dict` made it.
      config: of this run.
    """
    now, defaults = to_dict(config), to_dict(ExperimentConfig())

    def before(part: str, name: str) -> Any:
        # A field that came later had its default: it stands for what was done before there was a choice.
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
            f"{os.fspath(workdir)} holds a run of another config ({'; '.join(differences)}): choose "
            "another --workdir, or the config it was started with."
        )
