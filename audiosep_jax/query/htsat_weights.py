"""The parameters of `htsat` from the tensors of LAION's CLAP or of transformers' `ClapModel`."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from audiosep_jax.errors import AudioSepError
from audiosep_jax.query.htsat import HtsatConfig
from audiosep_jax.query.htsat_blocks import effective_window
from audiosep_jax.query.tensor_mapping import Stored, conv, dense, norm, parameters, stack

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

    What no tensor shows is as in all of LAION's models: patches that do not overlap, exact GELU, 1e-5 in the
    norms.

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
        raise AudioSepError(
            f"{where} is a CLAP with feature fusion, which is not implemented: take an unfused model."
        )

    def shape(name: str, rank: int) -> tuple[int, ...]:
        found = branch.get(name)
        if found is None or len(found) != rank or 0 in found:
            raise AudioSepError(
                f"{where} holds no HTSAT audio tower: {LAION_PREFIX}{name} is "
                f"{'missing' if found is None else f'of shape {found}, but {rank} axes are needed'}."
            )
        return found

    table = "attn.relative_position_bias_table"
    depths = []
    while f"layers.{len(depths)}.blocks.0.{table}" in branch or not depths:
        depths.append(_count(branch, f"layers.{len(depths)}.blocks."))
    tables = [shape(f"layers.{stage}.blocks.0.{table}", 2) for stage in range(len(depths))]
    windows = [(math.isqrt(rows) + 1) // 2 for rows, _ in tables]
    embed_dim, _, patch_size, _ = shape("patch_embed.proj.weight", 4)
    mel_bins, inner = shape("bn0.weight", 1)[0], shape("layers.0.blocks.0.mlp.fc1.weight", 2)[0]
    try:
        return HtsatConfig(
            embed_dim=embed_dim,
            depths=tuple(depths),
            heads=tuple(heads for _, heads in tables),
            spec_size=_spec_size(branch, depths, windows, patch_size),
            mel_bins=mel_bins,
            patch_size=patch_size,
            patch_stride=(patch_size, patch_size),
            patch_norm="patch_embed.norm.weight" in branch,
            window_size=max(windows),
            mlp_ratio=inner / embed_dim,
            qkv_bias="layers.0.blocks.0.attn.qkv.bias" in branch,
        )
    except AudioSepError as error:
        raise AudioSepError(f"{where} holds no usable HTSAT audio tower: {error}") from None


def _count(branch: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    """How many numbers follow the prefix, counted from 0 without a gap."""
    numbers = {name[len(prefix) :].split(".")[0] for name in branch if name.startswith(prefix)}
    count = 0
    while str(count) in numbers:
        count += 1
    return count


def _spec_size(
    branch: Mapping[str, tuple[int, ...]], depths: list[int], windows: list[int], stride: int
) -> int:
    """The size of the image, from the first stage that tells its resolution; LAION's 256 if none does."""
    for stage, (depth, window) in enumerate(zip(depths, windows, strict=True)):
        if depth < 2:  # no block that could shift
            continue
        # The second block shifts, unless the window is the whole image.
        mask = branch.get(f"layers.{stage}.blocks.1.attn_mask") or (1,)
        return window * math.isqrt(mask[0]) * 2**stage * stride
    return 256
