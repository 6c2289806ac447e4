"""The parameters of CLAP's towers from the tensors of LAION's files or of a transformers `ClapModel`."""

import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from audiosep_jax.encoders import bert, tensor_mapping
from audiosep_jax.encoders.clap import constants, log_mel
from audiosep_jax.encoders.clap.config import MEL_MATRIX, ClapConfig, HtsatConfig, Layout, RobertaConfig
from audiosep_jax.encoders.clap.htsat import effective_window
from audiosep_jax.encoders.tensor_mapping import Stored, Tree, conv, dense, norm, stack
from audiosep_jax.errors import EncoderError, listed

_TEXT_PREFIX = {"laion": "text_branch.", "transformers": "text_model."}
_AUDIO_PREFIX = {"laion": "audio_branch.", "transformers": "audio_model."}
_PROJECTION_LAYERS = {"laion": ("0", "2"), "transformers": ("linear1", "linear2")}

# transformers stores the queries, keys and values of an attention apart, LAION together.
_PARTS = ("query", "key", "value")

# Our names of what a Swin block has -> the names in each layout. Fingerprints depend on the order.
_BLOCK = {
    "laion": {
        "attention_norm": "norm1",
        "qkv": "attn.qkv",
        "projection": "attn.proj",
        "mlp_norm": "norm2",
        "mlp_in": "mlp.fc1",
        "mlp_out": "mlp.fc2",
        "bias_table": "attn.relative_position_bias_table",
    },
    "transformers": {
        **{part: f"attention.self.{part}" for part in _PARTS},
        "attention_norm": "layernorm_before",
        "projection": "attention.output.dense",
        "mlp_norm": "layernorm_after",
        "mlp_in": "intermediate.dense",
        "mlp_out": "output.dense",
        "bias_table": "attention.self.relative_position_bias_table",
    },
}

# Counters that some versions of transformers store beside the weights.
UNUSED_ROBERTA = ("embeddings.position_ids", "embeddings.token_type_ids")

# Constants that are computed here, and the classifier, which no latent depends on.
_UNUSED_AUDIO = {
    "laion": (
        "audio_branch.spectrogram_extractor.*",
        "audio_branch.logmel_extractor.*",
        "audio_branch.bn0.num_batches_tracked",
        "audio_branch.*.attn_mask",
        "audio_branch.*.attn.relative_position_index",
        "audio_branch.tscam_conv.*",
        "audio_branch.head.*",
    ),
    "transformers": (
        "audio_model.audio_encoder.batch_norm.num_batches_tracked",
        "audio_model.*.attention.self.relative_position_index",
    ),
}

# The temperatures of the contrastive loss, and the second projections that LAION trained beside the first.
_UNUSED = ("logit_scale_a", "logit_scale_t", "text_transform.*", "audio_transform.*")


def text_parameters(
    config: ClapConfig, tensors: Mapping[str, np.ndarray], *, where: str = "tensors"
) -> dict[str, Any]:
    """Returns the parameters of the text tower: "roberta" and "projection". Reads no other tensors.

    Raises:
      EncoderError: tensors are missing or mis-shaped.
    """
    return tensor_mapping.parameters(
        _text_tree(config), tensors, what="CLAP text tower", where=where, unused=("*",)
    )


def audio_parameters(
    config: ClapConfig, tensors: Mapping[str, np.ndarray], *, where: str = "tensors"
) -> dict[str, Any]:
    """Returns the parameters of the audio tower: "mel_matrix", "htsat" and "projection".

    Raises:
      EncoderError: tensors are missing, unmapped or mis-shaped, or the constants in the file do not fit the
        model that its names and shapes describe.
    """
    if odd := constants.different(config, tensors):
        raise EncoderError(
            f"{where} has the constants of another audio tower than its shapes describe: {listed(odd)}."
        )
    htsat = htsat_parameters(config.audio, tensors, layout=config.layout, where=where)
    rest = tensor_mapping.parameters(
        _audio_head_tree(config), tensors, what="CLAP audio tower", where=where, unused=("*",)
    )
    return {"mel_matrix": log_mel.mel_matrix(config.log_mel), **rest, "htsat": htsat}


def htsat_parameters(
    config: HtsatConfig, tensors: Mapping[str, np.ndarray], *, layout: Layout, where: str = "tensors"
) -> dict[str, Any]:
    """Rearranges the tensors of an audio tower into the parameters of `htsat`.

    The tensors have the names of the layout, `audio_branch.…` or `audio_model.…`; others are ignored.

    Raises:
      EncoderError: tensors are missing, unmapped or mis-shaped.
    """
    tensors = {name: tensors[name] for name in tensors if name.startswith(_AUDIO_PREFIX[layout])}
    params = tensor_mapping.parameters(
        _htsat_tree(config, layout), tensors, what="HTSAT", where=where, unused=_UNUSED_AUDIO[layout]
    )
    if layout == "transformers":
        for stage in range(len(config.depths)):
            blocks = params[f"stage_{stage}"]["blocks"]
            parts = [blocks.pop(part) for part in _PARTS]
            blocks["qkv"] = {
                kind: np.concatenate([part[kind] for part in parts], axis=-1) for kind in parts[0]
            }
    return params


def audio_names(config: ClapConfig) -> list[str]:
    """Returns the names of the tensors that the embedding of a sound depends on."""
    return [name for name, _ in _leaves(_audio_tree(config))]


def tensor_shapes(config: ClapConfig) -> dict[str, tuple[int, ...]]:
    """Returns names and shapes of the tensors that the embeddings depend on, without constants."""
    return dict([*_leaves(_text_tree(config)), *_leaves(_audio_tree(config))])


def tensor_problems(config: ClapConfig, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Returns what is wrong with the names and shapes of tensors; an empty list for a whole CLAP."""
    expected = tensor_shapes(config)
    unused = (
        *_UNUSED,
        *(_TEXT_PREFIX[config.layout] + name for name in UNUSED_ROBERTA),
        *_UNUSED_AUDIO[config.layout],
    )
    problems = [f"missing {name}" for name in expected if name not in shapes]
    problems += [
        f"mis-shaped {name} ({tuple(shapes[name])}, {shape} is needed)"
        for name, shape in expected.items()
        if name in shapes and tuple(shapes[name]) != shape
    ]
    unknown = sorted(set(shapes) - set(expected))
    return problems + [
        f"unmapped {name}"
        for name in unknown
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in unused)
    ]


def roberta_tree(config: RobertaConfig, *, prefix: str = "") -> dict[str, Any]:
    """Returns the tensor of each of RoBERTa's parameters; `prefix` stands before every name."""
    size = config.hidden_size
    return {
        "encoder": bert.tree(config, prefix=prefix),
        "pooler": dense(f"{prefix}pooler.dense", size, size),
    }


def _text_tree(config: ClapConfig) -> dict[str, Any]:
    return {
        "roberta": roberta_tree(config.text, prefix=_TEXT_PREFIX[config.layout]),
        "projection": _projection(config, "text_projection", config.text.hidden_size),
    }


def _audio_tree(config: ClapConfig) -> dict[str, Any]:
    return {**_audio_head_tree(config), "htsat": _htsat_tree(config.audio, config.layout)}


def _audio_head_tree(config: ClapConfig) -> dict[str, Any]:
    """Describes the audio tower without HTSAT: the mel matrix before it and the projection after it."""
    tree: dict[str, Any] = {"projection": _projection(config, "audio_projection", config.audio.latent_size)}
    if config.layout == "laion":
        bins = config.log_mel.window_length // 2 + 1
        tree["mel_matrix"] = Stored(MEL_MATRIX, (bins, config.log_mel.mel_bins))
    return tree


def _projection(config: ClapConfig, name: str, inputs: int) -> dict[str, Any]:
    first, second = _PROJECTION_LAYERS[config.layout]
    size = config.projection_size
    return {
        "inner": dense(f"{name}.{first}", inputs, size),
        "outer": dense(f"{name}.{second}", size, size),
    }


def _htsat_tree(config: HtsatConfig, layout: Layout) -> dict[str, Any]:
    prefix, batch_norm = {
        "laion": ("audio_branch.", "bn0"),
        "transformers": ("audio_model.audio_encoder.", "batch_norm"),
    }[layout]
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
    for stage, depth in enumerate(config.depths):
        layer, size = f"{prefix}layers.{stage}", config.stage_size(stage)
        blocks = [_block(config, layout, stage, f"{layer}.blocks.{index}") for index in range(depth)]
        tree[f"stage_{stage}"] = {"blocks": stack(blocks)}
        if stage + 1 < len(config.depths):
            tree[f"merging_{stage}"] = {
                "norm": norm(f"{layer}.downsample.norm", 4 * size),
                "reduction": dense(f"{layer}.downsample.reduction", 4 * size, 2 * size, bias=False),
            }
    return tree


def _block(config: HtsatConfig, layout: Layout, stage: int, prefix: str) -> dict[str, Any]:
    size, inner = config.stage_size(stage), config.mlp_size(stage)
    window = effective_window(config.resolution(stage), config.window_size)
    sizes = {"qkv": (size, 3 * size), "mlp_in": (size, inner), "mlp_out": (inner, size)}
    tree: dict[str, Any] = {}
    for ours, theirs in _BLOCK[layout].items():
        name = f"{prefix}.{theirs}"
        if ours == "bias_table":
            tree[ours] = Stored(name, ((2 * window - 1) ** 2, config.heads[stage]))
        elif ours.endswith("_norm"):
            tree[ours] = norm(name, size)
        else:
            bias = config.qkv_bias or ours not in ("qkv", *_PARTS)
            tree[ours] = dense(name, *sizes.get(ours, (size, size)), bias=bias)
    return tree


def _leaves(tree: Tree) -> Iterator[tuple[str, tuple[int, ...]]]:
    for node in tree.values():
        if isinstance(node, Stored):
            for name in (node.name,) if isinstance(node.name, str) else node.name:
                yield name, node.shape
        else:
            yield from _leaves(node)
