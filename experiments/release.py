"""Makes the bundled checkpoint from a finished run, with float16 kernels and without local paths.

python -m experiments.release runs/open_finish/checkpoint
"""

import dataclasses
import sys
from pathlib import Path

from audiosep_jax.checkpoints import folder
from audiosep_jax.checkpoints.bundled import BUNDLED_CHECKPOINT
from audiosep_jax.errors import AudioSepError


def release(source: Path, destination: Path = BUNDLED_CHECKPOINT) -> None:
    """Writes the checkpoint in `source` to `destination`, beside its model card.

    Raises:
      AudioSepError: the source is no checkpoint, or the destination cannot be written.
    """
    trained = folder.load(source)
    config = trained.config
    public = dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data,
            datasets=tuple(_public(entry) for entry in config.data.datasets),
            validation=tuple(_public(entry) for entry in config.data.validation),
        ),
        train=dataclasses.replace(config.train, init_from=""),
    )
    folder.save(destination, public, trained.variables, kernel_dtype="float16")


def _public(entry: str) -> str:
    return f"data/{Path(entry).name}"


def main() -> int:
    """Takes the run's checkpoint folder from the command line."""
    if len(sys.argv) != 2:
        print("usage: python -m experiments.release CHECKPOINT", file=sys.stderr)
        return 2
    try:
        release(Path(sys.argv[1]))
    except AudioSepError as error:
        print(f"release: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
