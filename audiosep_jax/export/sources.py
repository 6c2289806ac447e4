"""The checkpoint that an export comes from, and its query encoder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from audiosep_jax.checkpoints import bundled
from audiosep_jax.checkpoints.folder import Checkpoint
from audiosep_jax.encoders.base import load_encoder
from audiosep_jax.errors import AudioSepError
from audiosep_jax.export import check_sounds
from audiosep_jax.separation import api

BUNDLED = "bundled"
"""In a manifest: the checkpoint that comes with the package, whatever folder that is in."""


def find_checkpoint(name: str | None) -> Path:
    """Returns the folder of a checkpoint: a folder, org/name on the hub, or `BUNDLED`, which None is, too.

    Raises:
      CheckpointError: it is not on the hub, or cannot be downloaded.
    """
    return bundled.find_checkpoint(None if name == BUNDLED else name)


def name_in_manifest(name: str | None) -> str | None:
    """Returns the name that a manifest records; None for a folder, of which it records the path."""
    if name is None:
        return BUNDLED
    return None if Path(name).expanduser().exists() else name


def encoder_fingerprint(folder: Path) -> tuple[str | None, str]:
    """Returns the fingerprint of a checkpoint's query encoder, or None and the reason.

    Raises:
      CheckpointError: the folder is no checkpoint.
    """
    model = api.load(folder)
    try:
        return load_encoder(model.config.query).fingerprint, ""
    except AudioSepError as error:
        return None, str(error)


def condition_function(checkpoint: Checkpoint) -> tuple[Callable[[str], np.ndarray], str]:
    """Returns the query encoder of a checkpoint, or random conditions and the reason."""
    live = api.AudioSep(checkpoint.config, checkpoint.variables)
    try:
        live.condition(query=check_sounds.SCENES[0][-1])
    except AudioSepError as error:
        return check_sounds.random_condition(checkpoint.config.model.condition_size), str(error)
    return lambda query: live.condition(query=query), ""
