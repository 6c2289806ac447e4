"""The pinned names and shapes of parameters; `python tests/helpers/parameter_trees.py` writes them anew.

A changed file means that checkpoints written before it no longer load: change names or shapes only together
with a conversion.
"""

import json
from pathlib import Path

from audiosep_jax.config import ModelConfig
from audiosep_jax.models import separator
from experiments import tiny

FILE = Path(__file__).parents[1] / "data" / "parameter_trees.json"
MODELS = {"base": ModelConfig(), "tiny": tiny.CONFIG.model}


def tree(config: ModelConfig) -> dict[str, list[int]]:
    return {".".join(path): list(shape) for path, shape in sorted(separator.flat_shapes(config).items())}


if __name__ == "__main__":
    lines = []
    for name, config in MODELS.items():
        leaves = [f"    {json.dumps(leaf)}: {json.dumps(shape)}" for leaf, shape in tree(config).items()]
        lines.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(leaves) + "\n  }")
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
