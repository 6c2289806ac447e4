"""The fingerprint of a tower: conditions are comparable only where it is the same."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def fingerprint(settings: tuple[Any, ...], *, tokenizer_hash: str, params: Mapping[str, Any]) -> str:
    """Returns the SHA-256 over everything that a condition depends on.

    Args:
      settings: the tower's name, its config and whatever else shapes a condition; each has a telling `repr`.
      tokenizer_hash: as `tokenizer.load_tokenizer` returns it.
      params: the tree of weights.
    """
    digest = hashlib.sha256(repr(settings).encode())
    digest.update(tokenizer_hash.encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).data)
    return digest.hexdigest()
