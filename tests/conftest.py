"""Strictness for every test: shapes and types of arrays are checked, and promotion is never silent."""

import os
from pathlib import Path

# The tests measure and compare on the CPU, whatever else the machine has.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# Processes that tests start import the helpers, too.
_PATHS = [str(Path(__file__).parent / "helpers"), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, _PATHS))

import hypothesis  # noqa: E402
import jax  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

_EVALS = Path(__file__).parents[1] / "audiosep_jax" / "evals"
# Left out: rooms below evals, modules that refuse wrong types with a sentence of their own (files, resample),
# and those whose methods return typing.Self, which beartype does not accept outside of decorated classes.
CHECKED = [
    *(f"audiosep_jax.audio.{name}" for name in ("mixing", "residual", "stft", "windows")),
    "audiosep_jax.models",
    "audiosep_jax.encoders",
    *(f"audiosep_jax.evals.{path.stem}" for path in _EVALS.glob("*.py")),
    "audiosep_jax.train.loss",
]
install_import_hook(CHECKED, "beartype.beartype")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# A busy machine is slow, which says nothing about the code.
hypothesis.settings.register_profile("audiosep", deadline=None, print_blob=True)
hypothesis.settings.load_profile("audiosep")
