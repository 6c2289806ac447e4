"""Opens a file or folder of weights and says what it holds."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from audiosep_jax.checkpoints import file_kinds, torch_file
from audiosep_jax.encoders import model_files
from audiosep_jax.errors import CheckpointError, listed, shown
from audiosep_jax.utils import safetensors_file

SEPARATOR_PREFIX = "ss_model."
TOWER_PREFIX = "query_encoder.model."
LAION_MODEL_TYPE = "laion_clap"

# `model_type` of transformers -> the query encoder that reads it.
TRANSFORMERS_TOWERS = {"clap": "clap", "clip": "clip", "bert": "sentence"}
_TRANSFORMERS_FILES = (
    *("config.json", "preprocessor_config.json", "processor_config.json"),
    *("model.safetensors", "model.safetensors.index.json", "model-*.safetensors"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "vocab.txt"),
    *("sentence_bert_config.json", "modules.json", "1_Pooling/config.json"),
)
_LAION = re.compile(r"(text|audio)_(branch|projection|transform)\..*|logit_scale_[at]")
_TRANSFORMERS = re.compile(
    r"(text_model|vision_model|audio_model|text_projection|visual_projection|audio_projection|bert|roberta"
    r"|embeddings|encoder\.layer|pooler)\..*|logit_scale(_[at])?"
)
_DIFFUSION = re.compile(r"(model\.diffusion_model|down_blocks|up_blocks|mid_block|first_stage_model)\..*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tensors:
    """The weights of the PyTorch reference, of LAION's CLAP, or of both, memory-mapped from one file."""

    path: Path
    form: str  # the format, in words
    separator: dict[str, np.ndarray]  # by names without prefix: `base.bn0.weight`; empty for a CLAP alone
    tower: dict[str, np.ndarray]  # by LAION's names without prefix: `text_branch.…`; empty without CLAP
    unknown: tuple[str, ...] = ()  # names that belong to neither
    order: tuple[str, ...] = ()  # all names as in the released checkpoint, in the order of the file


@dataclasses.dataclass(frozen=True, kw_only=True)
class TowerFolder:
    """A query tower with config.json, in a folder that transformers or this project wrote."""

    path: Path
    model_type: str  # as its config.json says: "clap", "clip", "bert", or "laion_clap"
    encoder: str  # the query encoder that reads it
    tensors: dict[str, np.ndarray]  # mapped from the files, by the names in the folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointFolder:
    """A checkpoint folder of this project."""

    path: Path


def open_source(source: str | Path) -> Tensors | TowerFolder | CheckpointFolder:
    """Recognizes a source and maps its tensors.

    It is a file of PyTorch or safetensors, a folder, or the Hugging Face id of a transformers model.

    Raises:
      CheckpointError: the source is missing, damaged or of another kind; the text says of which.
      EncoderError: the transformers model cannot be downloaded or read.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        return _classify(path, *_state_dict(path))
    if model_files.HUGGING_FACE_ID.fullmatch(str(source)) and path.suffix not in file_kinds.SUFFIXES:
        return _folder(
            model_files.find_folder(str(source), files=_TRANSFORMERS_FILES, required=("config.json",))
        )
    raise CheckpointError(f"{source} does not exist: give a file or folder with weights.")


def _state_dict(path: Path) -> tuple[str, Mapping[str, Any]]:
    kind = file_kinds.file_kind(path)
    if kind == "safetensors":
        return "a safetensors file", safetensors_file.TensorFile(path)
    content = torch_file.read(path)
    form = "a PyTorch file"
    if isinstance(content, dict):
        if "param_groups" in content and "state" in content:
            raise CheckpointError(
                f"{path} is the state of an optimizer, without a model: give the checkpoint."
            )
        inner = content.get("state_dict")
        if isinstance(inner, dict):
            lightning = "pytorch-lightning_version" in content
            form = "a checkpoint of PyTorch Lightning" if lightning else "a PyTorch checkpoint"
            content = inner
        if content and all(isinstance(value, torch_file.TorchTensor) for value in content.values()):
            safetensors_file.check_names(content, where=path)
            return form, {name: value.read() for name, value in content.items()}
        odd = [name for name, value in content.items() if not isinstance(value, torch_file.TorchTensor)]
        # A key that is not text is not shown: it may be a tuple of a million long texts.
        keys = listed(shown(key) if isinstance(key, str) else "a key that is not text" for key in odd)
        if isinstance(inner, dict) and inner:
            raise CheckpointError(f"{path}: entries of its state_dict are not tensors: {keys}.")
        if content:
            raise CheckpointError(
                f"{path} holds no state dict: its keys are {keys}. Give the checkpoint of the "
                "model, with its weights under 'state_dict'."
            )
    raise CheckpointError(f"{path} holds no weights: give the checkpoint of the model.")


def _classify(path: Path, form: str, tensors: Mapping[str, np.ndarray]) -> Tensors:
    if tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    names = list(tensors)
    if any(name.startswith((SEPARATOR_PREFIX, TOWER_PREFIX)) for name in names):
        separator_prefix, tower_prefix = SEPARATOR_PREFIX, TOWER_PREFIX
    elif any(name.startswith(("base.", "film.")) for name in names):
        separator_prefix, tower_prefix = "", None
    elif any(name.startswith(("text_branch.", "audio_branch.")) for name in names):
        separator_prefix, tower_prefix = None, ""
    else:
        raise CheckpointError(f"{path} is not AudioSep and not LAION's CLAP: {_described(names)}")
    separator, tower, unknown, order = {}, {}, [], []
    for name, value in tensors.items():
        if separator_prefix is not None and name.startswith(separator_prefix):
            bare = name.removeprefix(separator_prefix)
            separator[bare] = value
            order.append(SEPARATOR_PREFIX + bare)
        elif tower_prefix is not None and name.startswith(tower_prefix):
            bare = name.removeprefix(tower_prefix)
            tower[bare] = value
            order.append(TOWER_PREFIX + bare)
        else:
            unknown.append(name)
    return Tensors(
        path=path, form=form, separator=separator, tower=tower, unknown=tuple(unknown), order=tuple(order)
    )


def _described(names: list[str]) -> str:
    if any(_DIFFUSION.fullmatch(name) for name in names):
        return "it looks like an image diffusion model."
    if names and sum(_TRANSFORMERS.fullmatch(name) is not None for name in names) > len(names) / 2:
        return "its tensors are named as transformers names them; give the folder with its config.json."
    return f"its tensors are called {listed(names)}."


def _folder(path: Path) -> Tensors | TowerFolder | CheckpointFolder:
    if (path / "model_index.json").is_file():
        raise CheckpointError(f"{path} is a folder of diffusers, not AudioSep and not a query tower.")
    if not (path / "config.json").is_file():
        if (path / "model.safetensors.index.json").is_file():
            return _classify(path, "a sharded safetensors folder", _folder_tensors(path))
        files = sorted(file.name for file in path.iterdir() if file.suffix in file_kinds.SUFFIXES)
        hint = f"name the file itself: {listed(files)}" if files else "it holds no weights either"
        raise CheckpointError(f"{path} is a folder without config.json; {hint}.")
    values = model_files.read_json(path / "config.json")
    model_type = values.get("model_type")
    if model_type is None and isinstance(values.get("model"), dict):
        return CheckpointFolder(path=path)
    encoder = {**TRANSFORMERS_TOWERS, LAION_MODEL_TYPE: "clap"}.get(str(model_type))
    if encoder is None:
        raise CheckpointError(
            f"{path} has a config.json of model_type {shown(repr(model_type))}: give a tower of the types "
            f"{', '.join(TRANSFORMERS_TOWERS)} of transformers."
        )
    return TowerFolder(
        path=path, model_type=str(model_type), encoder=encoder, tensors=dict(_folder_tensors(path))
    )


def _folder_tensors(path: Path) -> Mapping[str, np.ndarray]:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (path / name).is_file():
            return _state_dict(path / name)[1]
        index = path / f"{name}.index.json"
        if index.is_file():
            return _shards(index)
    raise CheckpointError(
        f"{path} has neither model.safetensors nor pytorch_model.bin: get the folder again."
    )


def _shards(index: Path) -> dict[str, np.ndarray]:
    places = model_files.read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
        raise CheckpointError(f"{index} has no weight_map: get the folder again.")
    shards: dict[str, Mapping[str, np.ndarray]] = {}
    absent = []
    tensors = {}
    for name, place in places.items():
        file = index.parent / place
        if "/" in place or "\\" in place or not file.is_file():
            absent.append(shown(json.dumps(place)))
            continue
        if place not in shards:
            shards[place] = _state_dict(file)[1]
        if name not in shards[place]:
            absent.append(f"{shown(name)} in {shown(place)}")
            continue
        tensors[name] = shards[place][name]
    if absent:
        raise CheckpointError(f"{index} names missing files or tensors: {listed(dict.fromkeys(absent))}.")
    return tensors
