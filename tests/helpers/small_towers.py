"""Folders of a small CLIP and a small CLAP, as transformers saves them, with a tokenizer of a few words."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import tokenizers
from tokenizers import models, pre_tokenizers, processors

CONDITION_SIZE = 24

# Folder of the record, and its tokens of beginning and end with their ids.
_TOWERS = {
    "clip": ("hf_clip_tiny", ("<|startoftext|>", 198), ("<|endoftext|>", 199)),
    "clap": ("hf_clap_tiny", ("<s>", 0), ("</s>", 2)),
}


def write_tower(folder: Path, encoder: str, *, words: Sequence[str]) -> Path:
    """Writes the recorded tower `encoder`, "clip" or "clap", with a tokenizer of the words."""
    record, begin, end = _TOWERS[encoder]
    folder.mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        shutil.copy(Path(__file__).parents[1] / "data" / "golden" / record / file, folder / file)
    if encoder == "clap":
        # The small tower takes no more frames than two seconds have.
        (folder / "preprocessor_config.json").write_text('{"max_length_s": 2}', "utf-8")
    vocabulary = {**dict([begin, end]), "<unk>": 3, **{word: 10 + id for id, word in enumerate(words)}}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.add_special_tokens([begin[0], end[0]])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin[0]} $A {end[0]}", special_tokens=[begin, end]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
