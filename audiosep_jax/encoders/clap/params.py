"""The parameters of CLAP's towers from the tensors of LAION's files or of a transformers `ClapModel`."""

import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from audiosep_jax.encoders import tensor_mapping
from audiosep_jax.encoders.clap import constants, htsat_params, log_mel, roberta_params
from audiosep_jax.encoders.clap.config import MEL_MATRIX, ClapConfig
from audiosep_jax.encoders.tensor_mapping import Stored, Tree, dense
from audiosep_jax.errors import EncoderError

_TEXT_PREFIX = {"laion": "text_branch.", "transformers": "text_model."}
_LAYERS = {"laion": ("0", "2"), "transformers": ("linear1", "linear2")}

# The temperatures of the contrastive loss, and the second projections that LAION trained beside the first.
_UNUSED = ("logit_scale_a", "logit_scale_t", "text_transform.*", "audio_transform.*")


def text_parameters(
    config: ClapConfig, tensors: Mapping[str, np.ndarray], *, where: str = "tensors"
) -> dict[str, Any]:
    """Returns the parameters of the text tower: "roberta" and "projection". Reads no other tensors.

    Raises:
      AudioSepError: names every missing and mis-shaped tensor at once.
    """
    return tensor_mapping.parameters(
        _text_tree(config), tensors, what="CLAP text tower", where=where, unused=("*",)
    )


def audio_parameters(
    config: ClapConfig, tensors: Mapping[str, np.ndarray], *, where: str = "tensors"
) -> dict[str, Any]:
    """Returns the parameters of the audio tower: "mel_matrix", "htsat" and "projection".

    Raises:
      AudioSepError: names every missing, unmapped and mis-shaped tensor at once; or the constants in the
        file are not those of the model that its names and shapes tell.
    """
    constants.check(config, tensors, where=where)
    if config.layout == "laion":
        htsat = htsat_params.parameters_from_laion(config.audio, tensors, where=where)
    else:
        htsat = htsat_params.parameters_from_transformers(config.audio, tensors, where=where)
    rest = tensor_mapping.parameters(
        _audio_head_tree(config), tensors, what="CLAP audio tower", where=where, unused=("*",)
    )
    return {"mel_matrix": log_mel.mel_matrix(config.log_mel), **rest, "htsat": htsat}


def audio_names(config: ClapConfig) -> list[str]:
    """Returns the names of the tensors that the embedding of a sound depends on."""
    return [name for name, _ in _leaves(_audio_tree(config))]


def tensor_shapes(config: ClapConfig) -> dict[str, tuple[int, ...]]:
    """Returns names and shapes of the tensors that both embeddings depend on, constants left out."""
    return dict([*_leaves(_text_tree(config)), *_leaves(_audio_tree(config))])


def tensor_problems(config: ClapConfig, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Returns what is wrong with the names and shapes of tensors: nothing if they are a whole CLAP.

    Args:
      config: shape of the CLAP.
      shapes: by the names of the config's layout.
    """
    expected = tensor_shapes(config)
    unused = (
        *_UNUSED,
        *(_TEXT_PREFIX[config.layout] + name for name in roberta_params.UNUSED_TENSORS),
        *(htsat_params.UNUSED_LAION if config.layout == "laion" else htsat_params.UNUSED_TRANSFORMERS),
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


def check_tensors(config: ClapConfig, shapes: Mapping[str, tuple[int, ...]], *, where: str) -> None:
    """Raises an AudioSepError that names all of `tensor_problems`, if there are any."""
    problems = tensor_problems(config, shapes)
    if problems:
        raise EncoderError(f"{where} does not hold the CLAP of its config.json: {'; '.join(problems)}.")


def _text_tree(config: ClapConfig) -> dict[str, Any]:
    return {
        "roberta": roberta_params.tree(config.text, prefix=_TEXT_PREFIX[config.layout]),
        "projection": _projection(config, "text_projection", config.text.hidden_size),
    }


def _audio_tree(config: ClapConfig) -> dict[str, Any]:
    laion = config.layout == "laion"
    htsat = htsat_params.laion_tree if laion else htsat_params.transformers_tree
    return {**_audio_head_tree(config), "htsat": htsat(config.audio)}


def _audio_head_tree(config: ClapConfig) -> dict[str, Any]:
    """Describes the two ends of the audio tower, without what is between."""
    tree: dict[str, Any] = {"projection": _projection(config, "audio_projection", config.audio.latent_size)}
    if config.layout == "laion":
        bins = config.log_mel.window_length // 2 + 1
        tree["mel_matrix"] = Stored(MEL_MATRIX, (bins, config.log_mel.mel_bins))
    return tree


def _projection(config: ClapConfig, name: str, inputs: int) -> dict[str, Any]:
    first, second = _LAYERS[config.layout]
    size = config.projection_size
    return {
        "inner": dense(f"{name}.{first}", inputs, size),
        "outer": dense(f"{name}.{second}", size, size),
    }


def _leaves(tree: Tree) -> Iterator[tuple[str, tuple[int, ...]]]:
    for node in tree.values():
        if isinstance(node, Stored):
            for name in (node.name,) if isinstance(node.name, str) else node.name:
                yield name, node.shape
        else:
            yield from _leaves(node)
