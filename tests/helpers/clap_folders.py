"""Folders of small CLAPs, with weights drawn by name and a tokenizer of letters.

`hf_clap_random` was recorded from transformers 5.23 with PyTorch 2.13: three ClapModels of other depths,
heads, sizes, activations and padding tokens, on texts, on spectrograms, and on waveforms through its feature
extractor.
"""

import functools
import json
import string
from pathlib import Path

import numpy as np
import tokenizers
from golden_inputs import SEED, reference_tensor, waveform
from safetensors.numpy import save_file
from tokenizers import models, pre_tokenizers, processors

from audiosep_jax.encoders.clap import config as clap_config
from audiosep_jax.encoders.clap import constants, log_mel

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
NAMES = ("a", "b", "c")
LAION_NAMES = {
    "text_model.": "text_branch.",
    "audio_model.audio_encoder.": "audio_branch.",
    "projection.linear1": "projection.0",
    "projection.linear2": "projection.2",
    "batch_norm": "bn0",
}
LAION_AUDIO_NAMES = {
    "attention.self.relative": "attn.relative",
    "attention.output.dense": "attn.proj",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


@functools.cache
def models_json():
    return json.loads((GOLDEN / "hf_clap_random.json").read_text("utf-8"))


@functools.cache
def record(name):
    """What transformers computed for one model: token_ids, mask, pooled, text, audio, heard."""
    with np.load(GOLDEN / "hf_clap_random.npz") as file:
        return {key.partition("/")[2]: file[key] for key in file if key.startswith(f"{name}/")}


def spectrograms(name):
    """The input of the recorded `audio`."""
    mels = models_json()[name]["config"]["audio_config"]["num_mel_bins"]
    shape = (3, 1, int(record(name)["frames"]), mels)
    rng = np.random.default_rng([SEED, NAMES.index(name)])
    return (6 * rng.standard_normal(shape, dtype=np.float32) - 9)[:, 0]


def sounds(name):
    """The input of the recorded `heard`, and its rate."""
    lengths = record(name)["lengths"].tolist()
    rate_hz = models_json()[name]["preprocessor"]["sampling_rate"]
    return [waveform(n, SEED + 80 + i) for i, n in enumerate(lengths)], rate_hz


def write_transformers(folder, name):
    """Writes a recorded model as transformers would, with a tokenizer; returns the folder."""
    model = models_json()[name]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(model["config"]))
    (folder / "preprocessor_config.json").write_text(json.dumps(model["preprocessor"]))
    config = clap_config.load(folder)
    tensors = {}
    for key, shape in model["shapes"].items():
        if key.endswith(("position_ids", "token_type_ids", "_tracked")) or not shape:
            tensors[key] = np.zeros(shape, np.float32 if "scale" in key else np.int64)
        elif not key.endswith("_index"):
            tensors[key] = reference_tensor(key, tuple(shape))
    tensors |= {key: np.ascontiguousarray(value) for key, value in constants.constants(config)}
    save_file(tensors, folder / "model.safetensors")
    write_tokenizer(folder, config.text)
    return folder


def write_laion(folder, name):
    """Writes the same model as a tower folder by LAION's names, with all that LAION's files hold."""
    write_transformers(folder, name)
    config = clap_config.load(folder)
    shapes = models_json()[name]["shapes"]
    laion = {}
    for key, shape in shapes.items():
        if "scale" in key or key.endswith(("_ids", "_index", "_tracked")):
            continue
        value = reference_tensor(key, tuple(shape))
        renames = dict(LAION_NAMES)
        if key.startswith("audio_model"):
            renames |= LAION_AUDIO_NAMES
            if ".attention.self.query." in key:
                parts = [key.replace("query", part) for part in ("query", "key", "value")]
                value = np.concatenate([reference_tensor(part, tuple(shapes[part])) for part in parts])
                renames["attention.self.query"] = "attn.qkv"
            elif ".attention.self." in key and "relative" not in key:
                continue
        for theirs, laions in renames.items():
            key = key.replace(theirs, laions)
        laion[key] = value
    values = {"model_type": "laion_clap", **clap_config.to_dict(config)}
    del values["layout"]
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "preprocessor_config.json").unlink()
    config = clap_config.load(folder)
    laion |= {
        key: np.ascontiguousarray(value, np.int64 if value.dtype.kind == "i" else np.float32)
        for key, value in constants.constants(config)
    }
    laion["audio_branch.logmel_extractor.melW"] = log_mel.mel_matrix(config.log_mel)
    laion["audio_branch.bn0.num_batches_tracked"] = np.array(7)
    for key in ("logit_scale_a", "logit_scale_t"):
        laion[key] = np.ones((), np.float32)
    for key in ("audio_branch.head.bias", "audio_branch.tscam_conv.bias", "text_transform.sequential.0.bias"):
        laion[key] = np.ones(3, np.float32)
    save_file(laion, folder / "model.safetensors")
    return folder


def write_tokenizer(folder, text):
    """A byte-level tokenizer of lower-case letters, with RoBERTa's special tokens at the model's padding."""
    special = ["<s>", "</s>", "<unk>"]
    special.insert(text.pad_token_id if text.pad_token_id < 3 else 3, "<pad>")
    tokens = [*special, *"ABCD"[: max(0, text.pad_token_id - 3)]]
    if text.pad_token_id > 3:
        tokens.remove("<pad>")
        tokens.insert(text.pad_token_id, "<pad>")
    tokens += [*string.ascii_lowercase, "Ġ", ".", *string.digits]
    ids = {token: place for place, token in enumerate(tokens)}
    assert ids["<pad>"] == text.pad_token_id
    assert len(tokens) <= text.vocab_size
    tokenizer = tokenizers.Tokenizer(models.BPE(ids, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"]))
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.save(str(folder / "tokenizer.json"))
