"""The parameters of `htsat` from the tensors of LAION's CLAP or of transformers' `ClapModel`."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from audiosep_jax.encoders.clap.htsat import HtsatConfig
from audiosep_jax.encoders.clap.htsat_blocks import effective_window
from audiosep_jax.encoders.clap.laion_sizes import axis, most, numbered
from audiosep_jax.encoders.tensor_mapping import Stored, conv, dense, norm, parameters, stack
from audiosep_jax.errors import AudioSepError, EncoderError

LAION_PREFIX = "audio_branch."
TRANSFORMERS_PREFIX = "audio_model."

# What transformers keeps apart in its attention.
_PARTS = ("query", "key", "value")

# Constants that are computed here, and the classifier, which no latent depends on.
UNUSED_LAION = (
    "audio_branch.spectrogram_extractor.*",
    "audio_branch.logmel_extractor.*",
    "audio_branch.bn0.num_batches_tracked",
    "audio_branch.*.attn_mask",
    "audio_branch.*.attn.relative_position_index",
    "audio_branch.tscam_conv.*",
    "audio_branch.head.*",
)
UNUSED_TRANSFORMERS = (
    "audio_model.audio_encoder.batch_norm.num_batches_tracked",
    "audio_model.*.attention.self.relative_position_index",
)


def parameters_from_laion(
    config: HtsatConfig, tensors: Mapping[str, np.ndarray], *, where: str = "tensors"
) -> dict[str, Any]:
    """Rearranges the tensors of LAION's audio branch into the parameters of `htsat`.

    Args:
      config: shape of the tower.
      tensors: by LAION's names, `audio_branch.…`; those with another prefix are not looked at.
      where: how errors name the place.

    Raises:
      AudioSepError: names every missing, unmapped and mis-shaped tensor at once.
    """
    tensors = {name: tensors[name] for name in tensors if name.startswith(LAION_PREFIX)}
    return parameters(laion_tree(config), tensors, what="HTSAT", where=where, unused=UNUSED_LAION)


def parameters_from_transformers(
    config: HtsatConfig, tensors: Mapping[str, np.ndarray], *, where: str = "tensors"
) -> dict[str, Any]:
    """Rearranges the tensors of transformers' audio model into the parameters of `htsat`.

    Args:
      config: shape of the tower.
      tensors: by the names of a `ClapModel`, `audio_model.…`; those with another prefix are not looked at.
      where: how errors name the place.

    Raises:
      AudioSepError: names every missing, unmapped and mis-shaped tensor at once.
    """
    tensors = {name: tensors[name] for name in tensors if name.startswith(TRANSFORMERS_PREFIX)}
    tree = transformers_tree(config)
    params = parameters(tree, tensors, what="audio tower", where=where, unused=UNUSED_TRANSFORMERS)
    for stage in range(len(config.depths)):
        blocks = params[f"stage_{stage}"]["blocks"]
        three = [blocks.pop(part) for part in _PARTS]
        blocks["qkv"] = {kind: np.concatenate([part[kind] for part in three], axis=-1) for kind in three[0]}
    return params


def laion_tree(config: HtsatConfig) -> dict[str, Any]:
    """Returns where each parameter comes from, by LAION's names."""

    def block(prefix: str, size: int, inner: int) -> dict[str, Any]:
        return {
            "attention_norm": norm(f"{prefix}.norm1", size),
            "qkv": dense(f"{prefix}.attn.qkv", size, 3 * size, bias=config.qkv_bias),
            "projection": dense(f"{prefix}.attn.proj", size, size),
            "mlp_norm": norm(f"{prefix}.norm2", size),
            "mlp_in": dense(f"{prefix}.mlp.fc1", size, inner),
            "mlp_out": dense(f"{prefix}.mlp.fc2", inner, size),
        }

    return _tree(config, LAION_PREFIX, "bn0", "attn.relative_position_bias_table", block)


def transformers_tree(config: HtsatConfig) -> dict[str, Any]:
    """Returns where each parameter comes from, by transformers' names; its attention is in three parts."""

    def block(prefix: str, size: int, inner: int) -> dict[str, Any]:
        own = {
            part: dense(f"{prefix}.attention.self.{part}", size, size, bias=config.qkv_bias)
            for part in _PARTS
        }
        return own | {
            "attention_norm": norm(f"{prefix}.layernorm_before", size),
            "projection": dense(f"{prefix}.attention.output.dense", size, size),
            "mlp_norm": norm(f"{prefix}.layernorm_after", size),
            "mlp_in": dense(f"{prefix}.intermediate.dense", size, inner),
            "mlp_out": dense(f"{prefix}.output.dense", inner, size),
        }

    prefix = TRANSFORMERS_PREFIX + "audio_encoder."
    return _tree(config, prefix, "batch_norm", "attention.self.relative_position_bias_table", block)


def _tree(config: HtsatConfig, prefix: str, batch_norm: str, table: str, block: Any) -> dict[str, Any]:
    """Describes what both layouts have in common; `block` describes the rest of a block."""
    statistics = {"mean": "running_mean", "var": "running_var", "scale": "weight", "bias": "bias"}
    window = (config.patch_size, config.patch_size)
    tree: dict[str, Any] = {
        "batch_norm": {
            ours: Stored(f"{prefix}{batch_norm}.{name}", (config.mel_bins,))
            for ours, name in statistics.items()
        },
        "patches": conv(f"{prefix}patch_embed.proj", window, 1, config.embed_dim),
        "norm": norm(f"{prefix}norm", config.latent_size),
    }
    if config.patch_norm:
        tree["patch_norm"] = norm(f"{prefix}patch_embed.norm", config.embed_dim)
    for stage, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
        size, inner = config.stage_size(stage), config.mlp_size(stage)
        rows = (2 * effective_window(config.resolution(stage), config.window_size) - 1) ** 2
        names = [f"{prefix}layers.{stage}.blocks.{index}" for index in range(depth)]
        blocks = [
            block(name, size, inner) | {"bias_table": Stored(f"{name}.{table}", (rows, heads))}
            for name in names
        ]
        tree[f"stage_{stage}"] = {"blocks": stack(blocks)}
        if stage + 1 < len(config.depths):
            merging = f"{prefix}layers.{stage}.downsample"
            tree[f"merging_{stage}"] = {
                "norm": norm(f"{merging}.norm", 4 * size),
                "reduction": dense(f"{merging}.reduction", 4 * size, 2 * size, bias=False),
            }
    return tree


def config_from_laion(shapes: Mapping[str, tuple[int, ...]], *, where: str = "tensors") -> HtsatConfig:
    """Reads the shape of the tower from the shapes of LAION's tensors.

    Every size is what most of the tensors say that show it, so that some missing or mis-shaped ones do not
    hide what is wrong with the others. What no tensor shows is as in all of LAION's models: patches that do
    not overlap, exact GELU, 1e-5 in the norms.

    Args:
      shapes: by LAION's names, `audio_branch.…`; those with another prefix are not looked at.
      where: how errors name the place.

    Raises:
      AudioSepError: there is no HTSAT, one with feature fusion, or one that contradicts itself.
    """
    branch = {
        name.removeprefix(LAION_PREFIX): tuple(shape)
        for name, shape in shapes.items()
        if name.startswith(LAION_PREFIX)
    }
    if any(part in name for name in branch for part in ("fusion_model", "mel_conv")):
        raise EncoderError(
            f"{where} is a CLAP with feature fusion, which is not implemented: take an unfused model."
        )
    # A block has a dozen tensors: a stray one does not make another block.
    depths = [
        numbered(branch, f"layers.{stage}.blocks.", least=4)
        for stage in range(numbered(branch, "layers.", least=4))
    ]
    if not depths or 0 in depths:
        raise EncoderError(
            f"{where} holds no HTSAT audio tower: {LAION_PREFIX}layers.{len(depths) and depths.index(0)}."
            "blocks.… are missing."
        )
    embed_dim, inner = _widths(branch, depths)
    patch_size = most((axis(branch, "patch_embed.proj.weight", place, rank=4) for place in (2, 3)), default=4)
    windows = _windows(branch, depths)
    statistics = ("weight", "bias", "running_mean", "running_var")
    bins = [axis(branch, f"bn0.{leaf}", 0, rank=1) for leaf in statistics]
    try:
        return HtsatConfig(
            embed_dim=embed_dim,
            depths=tuple(depths),
            heads=_heads(branch, depths, embed_dim),
            spec_size=_spec_size(branch, depths, windows, patch_size),
            mel_bins=most([*bins, axis(branch, "logmel_extractor.melW", 1, rank=2)], default=64),
            patch_size=patch_size,
            patch_stride=(patch_size, patch_size),
            patch_norm=any(f"patch_embed.norm.{leaf}" in branch for leaf in statistics[:2]),
            window_size=max(windows),
            mlp_ratio=inner / embed_dim,
            qkv_bias=any(name.endswith(".attn.qkv.bias") for name in branch),
        )
    except AudioSepError as error:
        raise EncoderError(f"{where} holds no usable HTSAT audio tower: {error}") from None


def _widths(branch: Mapping[str, tuple[int, ...]], depths: list[int]) -> tuple[int, int]:
    """Channels of the first stage, and of the hidden layer in its blocks; every stage doubles both."""
    sizes = [axis(branch, "patch_embed.proj.weight", 0, rank=4)]
    sizes += [axis(branch, f"patch_embed.{name}", 0, rank=1) for name in ("proj.bias", "norm.weight")]
    inners: list[int | None] = []
    for stage, depth in enumerate(depths):
        for prefix in (f"layers.{stage}.blocks.{block}" for block in range(depth)):
            found = [axis(branch, f"{prefix}.{name}", 0, rank=1) for name in ("norm1.weight", "norm2.weight")]
            found += [axis(branch, f"{prefix}.attn.proj.weight", place, rank=2) for place in (0, 1)]
            sizes += [_part(size, 2**stage) for size in found]
            found = [axis(branch, f"{prefix}.mlp.fc1.{name}", 0, rank=rank) for name, rank in _LEAVES]
            found.append(axis(branch, f"{prefix}.mlp.fc2.weight", 1, rank=2))
            inners += [_part(size, 2**stage) for size in found]
    size = most(sizes, default=128)
    return size, most(inners, default=4 * size)


_LEAVES = (("weight", 2), ("bias", 1))


def _part(size: int | None, parts: int) -> int | None:
    return None if size is None or size % parts else size // parts


def _root(area: int | None) -> int | None:
    """The side of a square, or None."""
    side = math.isqrt(area or 0)
    return side if side and side**2 == area else None


def _windows(branch: Mapping[str, tuple[int, ...]], depths: list[int]) -> list[int]:
    """The window of every stage, from its tables of biases, indices and masks."""
    known: list[int] = []
    for stage, depth in enumerate(depths):
        found: list[int | None] = []
        for attention in (f"layers.{stage}.blocks.{block}.attn" for block in range(depth)):
            side = _root(axis(branch, f"{attention}.relative_position_bias_table", 0, rank=2))
            found.append((side + 1) // 2 if side and side % 2 else None)
            found.append(_root(axis(branch, f"{attention}.relative_position_index", 0, rank=2)))
            found.append(_root(axis(branch, f"{attention}_mask", 1, rank=3)))
        known.append(most(found, default=0))
    # Only a last small image would make the window smaller.
    return [window or max(known) or 8 for window in known]


def _heads(branch: Mapping[str, tuple[int, ...]], depths: list[int], embed_dim: int) -> tuple[int, ...]:
    """The heads of every stage; where its own tables leave a doubt, every stage doubles them."""
    own = []
    for stage, depth in enumerate(depths):
        tables = (
            f"layers.{stage}.blocks.{block}.attn.relative_position_bias_table" for block in range(depth)
        )
        found = [axis(branch, table, 1, rank=2) for table in tables]
        own.append([heads for heads in found if heads and embed_dim * 2**stage % heads == 0])
    known = [(stage, most(found, default=1)) for stage, found in enumerate(own) if found] or [(0, 1)]
    return tuple(
        most(
            # Other stages decide only between equally many.
            [*found * len(depths), *(_part(heads * 2**stage, 2**other) for other, heads in known)],
            default=1,
        )
        for stage, found in enumerate(own)
    )


def _spec_size(
    branch: Mapping[str, tuple[int, ...]], depths: list[int], windows: list[int], stride: int
) -> int:
    """The size of the image: as many windows as the masks tell; LAION's 256 if nothing does."""
    masks = [
        _root(axis(branch, f"layers.{stage}.blocks.{block}.attn_mask", 0, rank=3))
        for stage, depth in enumerate(depths)
        for block in range(1, min(depth, 2))
    ]
    stages = [stage for stage, depth in enumerate(depths) if depth > 1]
    # Without masks a window is the whole image: surely in a stage whose window is smaller than another's.
    smaller = [stage for stage, window in enumerate(windows) if window < max(windows)]
    whole = (smaller or stages[-1:] or [None])[0]
    default = 256 if whole is None else windows[whole] * 2**whole * stride
    return most(
        (
            side and windows[stage] * side * 2**stage * stride
            for stage, side in zip(stages, masks, strict=True)
        ),
        default=default,
    )
