"""Prepares, trains, evaluates and separates with bundled clips (`make demo`).

  python -m experiments.demo

A few minutes on two cores. The training continues from the bundled checkpoint; it is far too short to improve
the model. The evaluation and the separation use recordings that were in neither training.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro
from rich.console import Console

from audiosep_jax.errors import AudioSepError
from audiosep_jax.utils.xla_cache import use_cache


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoArgs:
    """Prepare a small dataset, train on it, evaluate and separate, all with bundled clips."""

    out: Path = Path("demo_output")
    """Folder for the results; its folder `work` is deleted and written anew."""
    steps: int = 40
    """Training steps."""
    mixtures: int | None = None
    """Number of held-out mixtures to evaluate; by default all."""
    checkpoint: Path | None = None
    """Folder of the model to start from; by default the bundled model."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo; returns 0, 2 for an error, 130 for Ctrl-C."""
    use_cache()
    args = tyro.cli(DemoArgs, args=argv, prog="python -m experiments.demo")
    try:
        from audiosep_jax.checkpoints.bundled import BUNDLED_CHECKPOINT
        from experiments import demo_story  # after use_cache: JAX reads the cache folder when it is imported

        demo_story.run(
            out=args.out,
            steps=args.steps,
            mixtures=args.mixtures,
            checkpoint=args.checkpoint or BUNDLED_CHECKPOINT,
            console=Console(),
        )
    except AudioSepError as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("demo: interrupted; run it again to start over", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
