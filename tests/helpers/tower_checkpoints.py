"""Checkpoint folders with a small CLIP or CLAP inside, as a conversion or a training leaves them."""

import dataclasses
import shutil
from pathlib import Path

import tokenizers
from separation_models import random_model
from tokenizers import models, pre_tokenizers, processors

from audiosep_jax.checkpoints import folder
from audiosep_jax.config import QueryConfig

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
CONDITION_SIZE = 24
WORDS = ("a", "dog", "barks", "rain", "falls")

# Folder of the record, and its tokens of beginning and end with their ids.
TOWERS = {
    "clip": ("hf_clip_tiny", ("<|startoftext|>", 198), ("<|endoftext|>", 199)),
    "clap": ("hf_clap_tiny", ("<s>", 0), ("</s>", 2)),
}


def tower_checkpoint(path: Path, encoder: str) -> Path:
    """Writes a random separator that is conditioned by the small tower in its subfolder."""
    model = random_model(condition_size=CONDITION_SIZE)
    config = dataclasses.replace(model.config, query=QueryConfig(encoder=encoder, source="tower"))
    folder.save(path, config, model.variables)
    record, begin, end = TOWERS[encoder]
    (path / "tower").mkdir()
    for file in ("config.json", "model.safetensors"):
        shutil.copy(GOLDEN / record / file, path / "tower" / file)
    if encoder == "clap":
        # The small tower takes no more frames than two seconds have.
        (path / "tower" / "preprocessor_config.json").write_text('{"max_length_s": 2}', "utf-8")
    _tokenizer(begin, end).save(str(path / "tower" / "tokenizer.json"))
    return path


def _tokenizer(begin: tuple[str, int], end: tuple[str, int]) -> tokenizers.Tokenizer:
    vocabulary = {**dict([begin, end]), "<unk>": 3, **{word: 10 + id for id, word in enumerate(WORDS)}}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.add_special_tokens([begin[0], end[0]])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin[0]} $A {end[0]}", special_tokens=[begin, end]
    )
    return tokenizer
