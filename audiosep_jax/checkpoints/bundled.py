"""The checkpoint that comes with the package, and the names that find a checkpoint."""

import warnings
from pathlib import Path

from audiosep_jax.checkpoints import hub
from audiosep_jax.errors import CheckpointError
from audiosep_jax.utils.warning_places import levels_to_caller

BUNDLED_CHECKPOINT = Path(__file__).parents[1] / "assets" / "audiosep-open"
BUNDLED_NAME = "audiosep-open"
FORMER_NAME = "audiosep-tiny"


def find_checkpoint(checkpoint: str | Path | None) -> Path:
    """Returns the folder of a checkpoint.

    Args:
      checkpoint: a folder, a model on the hub (as `hub.resolve` takes it), or the name of the bundled model;
        None is the bundled model. A folder of that name goes before the bundled model.

    Raises:
      CheckpointError: there is no bundled model, or the hub's is not in the cache and cannot be downloaded.
    """
    if checkpoint in (BUNDLED_NAME, FORMER_NAME) and not Path(checkpoint).exists():
        if checkpoint == FORMER_NAME:
            warnings.warn(
                f"The bundled model {FORMER_NAME} was replaced by {BUNDLED_NAME}, which is used: give that "
                "name, because the next release does not know the old one.",
                FutureWarning,
                stacklevel=levels_to_caller(),
            )
        checkpoint = None
    if checkpoint is not None:
        return hub.resolve(checkpoint)
    if not BUNDLED_CHECKPOINT.is_dir():
        raise CheckpointError("This installation comes without a checkpoint: give the folder of one.")
    return BUNDLED_CHECKPOINT
