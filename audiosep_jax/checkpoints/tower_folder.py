"""Tower folders: config.json, tensors and tokenizer of a frozen query tower."""

import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from audiosep_jax.checkpoints import finite
from audiosep_jax.checkpoints.source import LAION_MODEL_TYPE, Tensors, TowerFolder
from audiosep_jax.config import QueryConfig
from audiosep_jax.encoders import model_files, tokenizer
from audiosep_jax.encoders.base import load_encoder
from audiosep_jax.encoders.clap import config as clap_config
from audiosep_jax.encoders.clap import constants, laion_config, params
from audiosep_jax.errors import AudioSepError, CheckpointError
from audiosep_jax.utils import hub_download, safetensors_file

# Settings that a tower folder keeps of a transformers folder.
SETTINGS = (
    "preprocessor_config.json",
    "processor_config.json",
    "sentence_bert_config.json",
    "modules.json",
    "1_Pooling/config.json",
)
# Each of these is a complete tokenizer.
_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("vocab.txt",))

# LAION's text towers are RoBERTa-base, and its files hold no tokenizer.
ROBERTA = "roberta-base"


def laion_problems(tensors: dict[str, np.ndarray], *, where: str) -> list[str]:
    """Returns a phrase for everything that is wrong with the tensors of a CLAP, by LAION's names."""
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    numbers = finite.problems(tensors)
    try:
        config = laion_config.from_shapes(shapes, where=where)
    except AudioSepError as error:
        return [str(error).removesuffix("."), *numbers]
    problems = params.tensor_problems(config, shapes)
    problems += [
        f"{name} is {tensors[name].dtype}, needed is a floating type"
        for name in params.tensor_shapes(config)
        if name in tensors and not jnp.issubdtype(tensors[name].dtype, np.floating)
    ]
    problems += [
        f"{name} differs from the constant that the audio tower needs"
        for name in constants.different(config, tensors)
    ]
    return problems + numbers


def write_laion(folder: Path, tensors: dict[str, np.ndarray], *, tokenizer_folder: Path) -> int:
    """Creates the folder of a complete CLAP with LAION's own tensors; returns the length of a condition.

    RoBERTa's tokenizer is copied from `tokenizer_folder`.

    Raises:
      CheckpointError: the tokenizer does not belong to the CLAP.
      OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True)
    config = laion_config.from_shapes({name: tensor.shape for name, tensor in tensors.items()})
    text = json.dumps(clap_config.to_json(config), indent=2) + "\n"
    (folder / "config.json").write_text(text, "utf-8")
    copy_tokenizer(tokenizer_folder, folder)
    words = tokenizer.load_tokenizer(folder)[0].get_vocab_size()
    if words > config.text.vocab_size:
        raise CheckpointError(
            f"the tokenizer in {tokenizer_folder} has {words} tokens, but the text tower has "
            f"{config.text.vocab_size}: give the folder of its own tokenizer with --tokenizer."
        )
    metadata = {"format": "pt", "state_dict": json.dumps(list(tensors))}
    safetensors_file.write(folder / "model.safetensors", tensors, metadata=metadata)
    return config.projection_size


def write_folder(folder: Path, source: TowerFolder, *, tokenizer_folder: Path) -> int:
    """Copies a transformers folder: config.json, tensors in one file, tokenizer and settings.

    Returns the length of a condition.

    Raises:
      CheckpointError: the query encoder cannot read the tower.
      OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True)
    copy_tokenizer(tokenizer_folder, folder)
    for name in ("config.json", *SETTINGS):
        if (source.path / name).is_file():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source.path / name, folder / name)
    safetensors_file.write(folder / "model.safetensors", source.tensors, metadata={"format": "pt"})
    try:
        return load_encoder(QueryConfig(encoder=source.encoder, source=str(folder))).condition_size
    except AudioSepError as error:
        raise CheckpointError(str(error).replace(str(folder), str(source.path))) from error


def find_tokenizer(source: str) -> Path:
    """Returns a folder with a tokenizer, from a folder or a Hugging Face id such as `roberta-base`.

    Raises:
      CheckpointError: there is none.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        if tokenizer_files(folder):
            return folder
        raise CheckpointError(
            f"{folder} holds no tokenizer (tokenizer.json, or vocab.json with merges.txt): give another "
            "folder with --tokenizer."
        )
    # The oldest models on the hub have no owner in their ids; newer caches use the owner they got later.
    ids = (source,) if "/" in source else (source, f"FacebookAI/{source}")
    for name in ids:
        found = hub_download.cached(name, files=tokenizer.FILES)
        if found is not None and tokenizer_files(found):
            return found
    reason: Exception | None = None
    for name in ids:
        try:
            found = hub_download.downloaded(
                name, files=tokenizer.FILES, kind=CheckpointError, instead="a folder"
            )
        except CheckpointError as error:
            reason = error
            continue
        if tokenizer_files(found):
            return found
    raise CheckpointError(
        f"The tokenizer {source!r} is not a folder, not in the Hugging Face cache, and could not be "
        "downloaded: connect to the network, or give a folder with its tokenizer.json (or vocab.json and "
        "merges.txt) with --tokenizer."
    ) from reason


def tokenizer_files(folder: Path) -> tuple[str, ...]:
    """Returns the names of the files of a folder's tokenizer; none if it has no complete one."""
    for names in _TOKENIZERS:
        if all((folder / name).is_file() for name in names):
            return names
    return ()


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copies a tokenizer's files, or raises a `CheckpointError` if there is none."""
    names = tokenizer_files(source)
    if not names:
        raise CheckpointError(f"{source} holds no tokenizer: give a folder that has one with --tokenizer.")
    for name in (*names, "tokenizer_config.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def laion_tensors(folder: Path) -> dict[str, np.ndarray] | None:
    """Returns the tensors of a LAION tower folder in their original order, or None for another tower."""
    if model_files.read_json(folder / "config.json").get("model_type") != LAION_MODEL_TYPE:
        return None
    tensors = safetensors_file.TensorFile(folder / "model.safetensors")
    order = json.loads(tensors.metadata.get("state_dict", "[]"))
    names = order if sorted(order) == sorted(tensors) else list(tensors)
    return {name: tensors[name] for name in names}


def described(source: Tensors | TowerFolder) -> str:
    """Returns the name of the tower that a source holds."""
    if isinstance(source, Tensors):
        return "LAION's CLAP"
    names = {"clap": "CLAP", "clip": "CLIP", "bert": "a sentence encoder (BERT)"}
    return "LAION's CLAP" if source.model_type == LAION_MODEL_TYPE else names[source.model_type]
