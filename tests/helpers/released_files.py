"""Files like those that AudioSep and LAION publish, with small or released shapes."""

import functools
import json
from collections import OrderedDict
from pathlib import Path

import clap_folders
import numpy as np
from golden_inputs import reference_tensor

from audiosep_jax.checkpoints import pytorch_constants, pytorch_names, torch_writer
from audiosep_jax.config import ModelConfig
from audiosep_jax.encoders.clap import constants, laion_config, log_mel, params
from audiosep_jax.encoders.clap.config import ClapConfig, HtsatConfig, LogMelConfig, RobertaConfig
from audiosep_jax.models import separator

GOLDEN = Path(__file__).parents[1] / "data" / "golden"

# The window must be one of a known model; everything else is as small as it gets.
SMALL = ModelConfig(window_length=1024, encoder_widths=(2, 3, 4, 3, 5, 2), condition_size=6)
CLAP = ClapConfig(
    layout="laion",
    text=RobertaConfig(
        vocab_size=300,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=1,
        intermediate_size=48,
        max_position_embeddings=40,
        type_vocab_size=1,
        hidden_act="gelu",
        layer_norm_eps=1e-5,
        pad_token_id=1,
    ),
    audio=HtsatConfig(embed_dim=8, depths=(1, 2), heads=(2, 4), spec_size=64, mel_bins=16, window_size=4),
    log_mel=LogMelConfig(window_length=512, mel_bins=16),
    projection_size=6,
)


@functools.cache
def _constants(config):
    return pytorch_constants.constants(config)


def _clap_constants(config):
    return {
        name: np.ascontiguousarray(value, np.int64 if value.dtype.kind == "i" else np.float32)
        for name, value in constants.constants(config)
    }


def separator_tensors(config=SMALL):
    """A separator's state dict in the reference's order, with random weights and the true constants."""
    shapes = separator.flat_shapes(config)
    tensors = dict(_constants(config))
    for name in pytorch_names.tensor_names(config):
        shape = np.empty(len(name.axes), int)
        shape[list(name.axes)] = shapes[name.path]
        tensors[name.pytorch] = reference_tensor(name.pytorch, tuple(shape.tolist()))
    for count, name in enumerate(name for name in tensors if name.endswith("num_batches_tracked")):
        tensors[name] = np.array(1_000_000 + count)
    return {name: tensors[name] for name in pytorch_constants.order() if name in tensors}


def clap_tensors(config=CLAP):
    """LAION's state dict of a small CLAP, with all tensors of LAION's files."""
    shapes = params.tensor_shapes(config)
    tensors = {"logit_scale_a": np.array(2.6, np.float32), "logit_scale_t": np.array(2.6, np.float32)}
    tensors |= {name: reference_tensor(name, tuple(shape)) for name, shape in shapes.items()}
    tensors |= _clap_constants(config)
    tensors["audio_branch.logmel_extractor.melW"] = np.asarray(log_mel.mel_matrix(config.log_mel), np.float32)
    tensors["audio_branch.bn0.num_batches_tracked"] = np.array(7)
    tensors["text_branch.embeddings.position_ids"] = np.arange(40)[None]
    for name in (
        "audio_branch.head.bias",
        "audio_branch.tscam_conv.bias",
        "text_transform.sequential.0.bias",
    ):
        tensors[name] = np.ones(3, np.float32)
    return tensors


def state_dict(separator_=None, clap=None):
    """Names as in the released checkpoint."""
    separator_ = separator_tensors() if separator_ is None else separator_
    clap = clap_tensors() if clap is None else clap
    return OrderedDict(
        [(f"ss_model.{name}", tensor) for name, tensor in separator_.items()]
        + [(f"query_encoder.model.{name}", tensor) for name, tensor in clap.items()]
    )


def write_lightning(path, tensors):
    """A checkpoint with Lightning's other entries, including AdamW's AMSGrad state."""
    trained = [
        name
        for name in tensors
        if name.startswith("ss_model.")
        and "stft" not in name
        and "running" not in name
        and "num_b" not in name
    ]
    moments = {
        index: {
            "step": np.array(1e6, np.float32),
            **{key: np.zeros_like(tensors[name]) for key in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")},
        }
        for index, name in enumerate(trained)
    }
    group = {"lr": 1e-3, "betas": (0.9, 0.999), "amsgrad": True, "params": list(moments)}
    content = torch_writer.lightning_checkpoint(tensors) | {
        "epoch": 41,
        "global_step": 1_000_000,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 42}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": np.array(0.5, np.float32)}},
        "optimizer_states": [{"state": moments, "param_groups": [group]}],
        "lr_schedulers": [{"base_lrs": [1e-3], "last_epoch": 1_000_000, "lr_lambdas": [None]}],
    }
    torch_writer.write(path, content)
    return path


def write_tokenizer(folder):
    """A tokenizer for the small CLAP, for `--tokenizer`."""
    folder.mkdir(parents=True, exist_ok=True)
    clap_folders.write_tokenizer(folder, CLAP.text)
    return folder


def released_tensors():
    """The released checkpoint's names and shapes, with the weights of the golden records."""

    def tensor(name, shape):
        if name in kernels:
            return kernels[name]
        if name.endswith("num_batches_tracked"):
            return np.array(1_000_000)
        return np.asarray(reference_tensor(name, tuple(shape)))

    kernels = dict(_constants(ModelConfig()))
    separator_ = json.loads((GOLDEN / "resunet30.keys.json").read_text("utf-8"))["base"]
    clap = json.loads((GOLDEN / "laion_clap.keys.json").read_text("utf-8"))
    config = laion_config.from_shapes({name: tuple(shape) for name, shape in clap.items()})
    kernels |= _clap_constants(config)
    return state_dict(
        {name: tensor(name, shape) for name, shape in separator_.items()},
        {name: tensor(name, shape) for name, shape in clap.items()},
    )
