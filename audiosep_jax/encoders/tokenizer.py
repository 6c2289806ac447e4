"""Tokenizers of the query encoders: read from a model's folder; texts to token ids."""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from audiosep_jax.encoders import model_files
from audiosep_jax.errors import AudioSepError, EncoderError, QueryError

# Every file that `load_tokenizer` may read, so that a download includes it.
FILES = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "tokenizer_config.json")

# Names in transformers' tokenizer_config.json -> default tokens.
CLIP_TOKENS = {
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
}
ROBERTA_TOKENS = {
    "cls_token": "<s>",
    "sep_token": "</s>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}

# How CLIP splits a text into words, from github.com/openai/CLIP, clip/simple_tokenizer.py.
CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def load_tokenizer(folder: str | Path) -> tuple[tokenizers.Tokenizer, str]:
    """Reads the tokenizer of a model's folder, and the SHA-256 of everything that its token ids depend on.

    It is in `tokenizer.json`; in older models in `vocab.json` with `merges.txt` (byte-level BPE; the
    `model_type` of `config.json` tells CLIP's from RoBERTa's) or `vocab.txt` (BERT's word pieces). Neither
    padding nor truncation is set.

    Raises:
      EncoderError: the folder has no tokenizer, or a broken one.
    """
    folder = Path(folder)
    path = next(
        (folder / n for n in ("tokenizer.json", "vocab.json", "vocab.txt") if (folder / n).is_file()), None
    )
    if path is None or (path.name == "vocab.json" and not (folder / "merges.txt").is_file()):
        raise EncoderError(
            f"{folder} has neither tokenizer.json nor vocab.json with merges.txt nor vocab.txt: "
            "download the model again."
        )
    try:
        if path.name == "tokenizer.json":
            content = path.read_text("utf-8")
            tokenizer = tokenizers.Tokenizer.from_str(content)
        else:
            build = _byte_level_bpe if path.name == "vocab.json" else _word_pieces
            tokenizer = build(folder)
            content = tokenizer.to_str()
    except AudioSepError:
        raise
    except Exception as error:  # tokenizers raises nothing narrower
        raise EncoderError(f"{path} is not a readable tokenizer: {error}.") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer, hashlib.sha256(content.encode()).hexdigest()


def check_vocabulary(tokenizer: tokenizers.Tokenizer, vocab_size: int, *, folder: Path) -> None:
    """Raises an `EncoderError` if a model has fewer tokens than the tokenizer in its folder."""
    if tokenizer.get_vocab_size() > vocab_size:
        raise EncoderError(
            f"{folder} has a tokenizer of {tokenizer.get_vocab_size()} tokens and a model of {vocab_size}: "
            "they do not belong together; download the model again."
        )


def tokenize(
    tokenizer: tokenizers.Tokenizer,
    texts: Sequence[str],
    *,
    max_tokens: int,
    unknown_token: str | None = None,
) -> list[list[int]]:
    """Returns the token ids of each text, with the special tokens around it.

    Texts of more than `max_tokens` are cut, with a warning; the special token at the end stays. Texts that
    contain only `unknown_token` cause a warning. The tokenizer's padding is turned off and its truncation
    set.

    Raises:
      QueryError: a text is empty, holds only white space, or is not valid Unicode.
    """
    if isinstance(texts, str):
        raise QueryError(f"encode takes a list of texts: give [{texts!r}] instead of {texts!r}.")
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    tokens, cut, unknown = [], [], []
    for text in texts:
        try:
            # One at a time: encode_batch starts threads, and a later fork warns about them.
            encoding = tokenizer.encode(text)
        except (TypeError, UnicodeError) as error:
            raise QueryError(f"The query {text!r} is not valid Unicode text: retype it.") from error
        words = [
            token
            for token, special in zip(encoding.tokens, encoding.special_tokens_mask, strict=True)
            if not special
        ]
        # Byte-level tokenizers have tokens for invisible characters, too.
        if not words or not any(c.isprintable() and not c.isspace() for c in text):
            raise QueryError(f"The query {text!r} is empty: describe a sound.")
        if encoding.overflowing:
            cut.append(text)
        if set(words) == {unknown_token}:
            unknown.append(text)
        tokens.append(encoding.ids)
    for concerned, what in (
        (cut, f"exceed {max_tokens} tokens and are cut there"),
        (unknown, "hold no word that the encoder knows: they all get the same condition"),
    ):
        if concerned:
            first = repr(concerned[0][:60])
            # Two frames up is the caller of `encode`.
            warnings.warn(f"{len(concerned)} text(s) {what}; the first is {first}.", stacklevel=3)
    return tokens


def _byte_level_bpe(folder: Path) -> tokenizers.Tokenizer:
    """Builds transformers' CLIPTokenizer or RobertaTokenizer from `vocab.json` and `merges.txt`."""
    model_type = str(model_files.read_json(folder / "config.json").get("model_type"))
    settings = _settings(folder)
    clip = model_type.startswith("clip")
    if not clip and not any(name in model_type for name in ("roberta", "clap")):
        raise EncoderError(
            f"{folder} has vocab.json and merges.txt and the model_type {model_type!r}: only CLIP's and "
            "RoBERTa's are known; add the model's tokenizer.json."
        )
    special = {
        name: _token(settings.get(name), default)
        for name, default in (CLIP_TOKENS if clip else ROBERTA_TOKENS).items()
    }
    vocabulary, merges = models.BPE.read_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    ends = ("bos_token", "eos_token") if clip else ("cls_token", "sep_token")
    absent = [special[name] for name in ends if special[name] not in vocabulary]
    if absent:
        raise EncoderError(f"{folder / 'vocab.json'} lacks the token {' and '.join(absent)}.")
    first, last = ((special[name], vocabulary[special[name]]) for name in ends)
    if clip:
        tokenizer = tokenizers.Tokenizer(
            models.BPE(vocabulary, merges, unk_token=special["unk_token"], end_of_word_suffix="</w>")
        )
        tokenizer.normalizer = normalizers.Sequence(
            [
                normalizers.NFC(),
                normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
                normalizers.Lowercase(),
            ]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(tokenizers.Regex(CLIP_WORDS), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        tokenizer.post_processor = processors.RobertaProcessing(
            last, first, trim_offsets=False, add_prefix_space=False
        )
    else:
        prefix = bool(settings.get("add_prefix_space", False))
        tokenizer = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        tokenizer.post_processor = processors.RobertaProcessing(last, first, add_prefix_space=prefix)
    # Without tokens that the vocabulary lacks: the tower has no embedding for them.
    tokenizer.add_special_tokens([t for t in dict.fromkeys(special.values()) if t in vocabulary])
    return tokenizer


def _word_pieces(folder: Path) -> tokenizers.Tokenizer:
    settings = _settings(folder)
    tokenizer = tokenizers.BertWordPieceTokenizer(
        str(folder / "vocab.txt"),
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    )
    return tokenizers.Tokenizer.from_str(tokenizer.to_str())


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    return model_files.read_json(path) if path.is_file() else {}


def _token(value: Any, default: str) -> str:
    """Returns a token of tokenizer_config.json, where it is a string or an object with its content."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else default
