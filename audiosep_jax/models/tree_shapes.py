"""The shapes of a separator's variables, written down: tracing the modules would take a second."""

from collections.abc import Iterator

from audiosep_jax.config import ModelConfig

Shape = tuple[int, ...]
Path = tuple[str, ...]


def flat_shapes(config: ModelConfig) -> dict[Path, Shape]:
    """Returns the shape of every variable by its path, in the order of the tree's leaves."""
    return dict(sorted(_all(config)))


def _all(config: ModelConfig) -> Iterator[tuple[Path, Shape]]:
    widths, bins = config.encoder_widths, config.window_length // 2 + 1
    yield from _norm(("bn0",), bins)
    yield from _pointwise(("pre_conv",), 1, widths[0])
    yield from _pointwise(("after_conv",), widths[0], 3)
    below = widths[0]
    for index, width in enumerate(widths, start=1):
        yield from _residual(config, (f"encoder{index}",), below, width)
        below = width
    for index in range(1, config.bottleneck_blocks + 1):
        yield from _residual(config, (f"bottleneck{index}",), below, below)
    for index, width in enumerate(reversed(widths), start=1):
        name = (f"decoder{index}",)
        yield from _film_norm(config, (*name, "norm"), below)
        if config.unused_tensors:
            yield from _film_norm(config, (*name, "unused_norm"), below)
        # The block of the lowest level is the only one that does not pool time.
        yield _parameter(*name, "up", "kernel"), (1 if index == 1 else 2, 2, below, width)
        yield from _residual(config, (*name, "block"), 2 * width, width)
        below = width


def _residual(config: ModelConfig, name: Path, inputs: int, outputs: int) -> Iterator[tuple[Path, Shape]]:
    yield from _film_norm(config, (*name, "norm1"), inputs)
    yield from _film_norm(config, (*name, "norm2"), outputs)
    yield _parameter(*name, "conv1", "kernel"), (3, 3, inputs, outputs)
    yield _parameter(*name, "conv2", "kernel"), (3, 3, outputs, outputs)
    if inputs != outputs:
        yield from _pointwise((*name, "shortcut"), inputs, outputs)


def _film_norm(config: ModelConfig, name: Path, channels: int) -> Iterator[tuple[Path, Shape]]:
    yield from _norm((*name, "bn"), channels)
    for kind in ("shift",) if config.film == "shift" else ("scale", "shift"):
        yield _parameter(*name, "film", kind, "kernel"), (config.condition_size, channels)
        yield _parameter(*name, "film", kind, "bias"), (channels,)


def _norm(name: Path, channels: int) -> Iterator[tuple[Path, Shape]]:
    for part in ("scale", "bias"):
        yield _parameter(*name, part), (channels,)
    for part in ("mean", "var"):
        yield ("batch_stats", "resunet", *name, part), (channels,)


def _pointwise(name: Path, inputs: int, outputs: int) -> Iterator[tuple[Path, Shape]]:
    yield _parameter(*name, "kernel"), (1, 1, inputs, outputs)
    yield _parameter(*name, "bias"), (outputs,)


def _parameter(*name: str) -> Path:
    return ("params", "resunet", *name)
