"""Shape of a CLAP: from the `config.json` of its folder, or derived from the tensors of LAION's files."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from audiosep_jax.encoders import model_files
from audiosep_jax.encoders.bert import ACTIVATIONS
from audiosep_jax.encoders.clap import htsat_params
from audiosep_jax.encoders.clap.htsat import HtsatConfig
from audiosep_jax.encoders.clap.laion_sizes import axis, most, numbered
from audiosep_jax.encoders.clap.log_mel import LogMelConfig
from audiosep_jax.encoders.clap.roberta import RobertaConfig
from audiosep_jax.errors import AudioSepError, EncoderError
from audiosep_jax.utils.serialization import from_dict, to_dict

LAION_MODEL_TYPE = "laion_clap"

MEL_MATRIX = "audio_branch.logmel_extractor.melW"

# What transformers takes for a key that its config.json lacks, where it is not our own default.
_TEXT_DEFAULTS = {
    "vocab_size": 50265,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 1,
}
# Our field -> the key of transformers, and its default.
_AUDIO_KEYS = {
    "embed_dim": ("patch_embeds_hidden_size", 96),
    "depths": ("depths", [2, 2, 6, 2]),
    "heads": ("num_attention_heads", [4, 8, 16, 32]),
    "spec_size": ("spec_size", 256),
    "mel_bins": ("num_mel_bins", 64),
    "patch_size": ("patch_size", 4),
    "patch_stride": ("patch_stride", [4, 4]),
    "patch_norm": ("enable_patch_layer_norm", True),
    "window_size": ("window_size", 8),
    "mlp_ratio": ("mlp_ratio", 4.0),
    "qkv_bias": ("qkv_bias", True),
    "hidden_act": ("hidden_act", "gelu"),
    "layer_norm_eps": ("layer_norm_eps", 1e-5),
}
_LOG_MEL_KEYS = {
    "sample_rate_hz": "sampling_rate",
    "window_length": "fft_window_size",
    "hop_length": "hop_length",
    "frequency_min_hz": "frequency_min",
    "frequency_max_hz": "frequency_max",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClapConfig:
    """Shape of a CLAP.

    Attributes:
      layout: whose names the tensors have.
      text, audio: shapes of the towers.
      log_mel: what the audio tower hears.
      clip_samples: length that a sound is padded or cut to.
      projection_size: length of a condition.
      projection_act: activation between the two layers of the projections.
    """

    layout: Literal["laion", "transformers"]
    text: RobertaConfig
    audio: HtsatConfig
    log_mel: LogMelConfig = LogMelConfig()
    clip_samples: int = 480_000
    projection_size: int = 512
    projection_act: str = "relu"

    def __post_init__(self) -> None:
        if min(self.projection_size, self.clip_samples) < 1:
            raise EncoderError(
                f"projection_size ({self.projection_size}) and clip_samples ({self.clip_samples}) must be "
                "positive."
            )
        if self.projection_act not in ACTIVATIONS:
            raise EncoderError(
                f"the projections' activation is {self.projection_act!r}: only {', '.join(ACTIVATIONS)} "
                "are implemented."
            )
        if self.log_mel.mel_bins != self.audio.mel_bins:
            raise EncoderError(
                f"the audio tower takes {self.audio.mel_bins} mel bins and its front end gives "
                f"{self.log_mel.mel_bins}: they must be the same."
            )


def load(folder: str | Path) -> ClapConfig:
    """Reads the `config.json` of a transformers `ClapModel` or of a LAION tower folder.

    Raises:
      AudioSepError: the file is missing or broken, or describes a model that is not implemented.
    """
    path = Path(folder) / "config.json"
    values = model_files.read_json(path)
    kind = values.pop("model_type", None)
    if kind not in ("clap", LAION_MODEL_TYPE):
        raise EncoderError(f'{path} has model_type {kind!r}: "clap" or "{LAION_MODEL_TYPE}" is needed.')
    try:
        if kind == "clap":
            return _from_transformers(values, _extractor(path.parent), where=str(path))
        return from_dict(ClapConfig, {"layout": "laion", **values}, where=str(path), kind=EncoderError)
    except TypeError as error:
        raise EncoderError(f"{path} is incomplete ({error}): convert the checkpoint again.") from error
    except AudioSepError as error:
        raise EncoderError(f"{path} describes no usable CLAP: {error}") from None


def to_json(config: ClapConfig) -> dict[str, Any]:
    """Returns the `config.json` of a LAION tower folder.

    Raises:
      AudioSepError: the tensors have the names of transformers, whose config.json is another.
    """
    values = to_dict(config)
    if values.pop("layout") != "laion":
        raise EncoderError("this CLAP has transformers' tensors: keep the config.json that came with them.")
    return {"model_type": LAION_MODEL_TYPE, **values}


def from_laion(shapes: Mapping[str, tuple[int, ...]], *, where: str = "tensors") -> ClapConfig:
    """Derives the shape of a CLAP from the tensors of LAION's files; they say nothing else about it.

    Every size is what most of the tensors say that show it: missing and mis-shaped ones do not keep
    `clap_weights.tensor_problems` from naming all that is wrong.

    What no tensor shows is as in all of LAION's files: 48 kHz, a hop of 480 samples, 50 Hz to 14 kHz, heads
    of 64 in the text tower, GELU in the towers, and ReLU in the projections.

    Args:
      shapes: by their names without a prefix, such as `text_branch.pooler.dense.weight`.
      where: how errors name the place.

    Raises:
      AudioSepError: the tensors are those of a model with fusion, of one with other towers, or of none.
    """
    audio = htsat_params.config_from_laion(shapes, where=where)
    kernels = [f"audio_branch.spectrogram_extractor.stft.conv_{part}.weight" for part in ("real", "imag")]
    bins = [axis(shapes, MEL_MATRIX, 0, rank=2), *(axis(shapes, name, 0, rank=3) for name in kernels)]
    log_mel = LogMelConfig()
    projections = [
        axis(shapes, f"{tower}_projection.{layer}.{leaf}", 0, rank=rank)
        for tower in ("text", "audio")
        for layer in (0, 2)
        for leaf, rank in (("weight", 2), ("bias", 1))
    ]
    return ClapConfig(
        layout="laion",
        text=_laion_text(shapes, where=where),
        audio=audio,
        log_mel=LogMelConfig(
            window_length=most(
                (None if size is None else 2 * (size - 1) for size in bins),
                default=log_mel.window_length,
                least=log_mel.hop_length,
            ),
            mel_bins=audio.mel_bins,
        ),
        projection_size=most(projections, default=512),
    )


def _laion_text(shapes: Mapping[str, tuple[int, ...]], *, where: str) -> RobertaConfig:
    branch = {
        name.removeprefix("text_branch."): tuple(shape)
        for name, shape in shapes.items()
        if name.startswith("text_branch.")
    }
    # A layer has sixteen tensors: a stray one does not make another layer.
    layers = numbered(branch, "encoder.layer.", least=4)
    # BERT has RoBERTa's tensor names, but two rows of token types; BART and CLIP have other names.
    if not layers or axis(branch, "embeddings.token_type_embeddings.weight", 0, rank=2) == 2:
        raise EncoderError(
            f"{where} holds no RoBERTa text tower (text_branch.embeddings…, with one token type): CLAPs with "
            "BERT, BART or CLIP's transformer are not implemented."
        )
    prefixes = [f"encoder.layer.{index}." for index in range(layers)]
    norms = ["embeddings.LayerNorm.", *(f"{prefix}output.LayerNorm." for prefix in prefixes)]
    sizes = [axis(branch, f"{norm}{leaf}", 0, rank=1) for norm in norms for leaf in ("weight", "bias")]
    parts = ("self.query", "self.key", "self.value", "output.dense")
    sizes += [
        axis(branch, f"{prefix}attention.{part}.weight", place, rank=2)
        for prefix in prefixes
        for part in parts
        for place in (0, 1)
    ]
    size = most(sizes, default=_TEXT_DEFAULTS["hidden_size"])
    if size % 64:
        raise EncoderError(f"{where} has a text tower of size {size}: RoBERTa's heads have 64 each.")
    inner = [axis(branch, f"{prefix}intermediate.dense.weight", 0, rank=2) for prefix in prefixes]
    inner += [axis(branch, f"{prefix}intermediate.dense.bias", 0, rank=1) for prefix in prefixes]
    inner += [axis(branch, f"{prefix}output.dense.weight", 1, rank=2) for prefix in prefixes]
    positions = axis(branch, "embeddings.position_embeddings.weight", 0, rank=2)
    position_ids = axis(branch, "embeddings.position_ids", 1, rank=2)
    words = axis(branch, "embeddings.word_embeddings.weight", 0, rank=2)
    return RobertaConfig(
        vocab_size=most([words], default=_TEXT_DEFAULTS["vocab_size"], least=2),
        hidden_size=size,
        num_hidden_layers=layers,
        num_attention_heads=size // 64,
        intermediate_size=most(inner, default=4 * size),
        max_position_embeddings=most(
            [positions, position_ids], default=_TEXT_DEFAULTS["max_position_embeddings"], least=5
        ),
        type_vocab_size=1,
        hidden_act="gelu",
        layer_norm_eps=1e-5,
        pad_token_id=1,
    )


def _extractor(folder: Path) -> dict[str, Any]:
    """Returns the feature extractor's settings, which older and newer transformers store elsewhere."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            values = model_files.read_json(folder / name)
            values = values.get("feature_extractor", values)
            return values if isinstance(values, dict) else {}
    return {}


def _from_transformers(values: dict[str, Any], extractor: dict[str, Any], *, where: str) -> ClapConfig:
    text, audio = (values.get(key) or {} for key in ("text_config", "audio_config"))
    for key, section in (("text_config", text), ("audio_config", audio)):
        if not isinstance(section, dict):
            raise EncoderError(f"{key} is {section!r}: a JSON object is needed.")
    if audio.get("enable_fusion"):
        raise EncoderError(
            "it has feature fusion (enable_fusion), which is not implemented: take a model without, "
            "such as laion/clap-htsat-unfused."
        )
    for section, key, needed in (
        (text, "position_embedding_type", "absolute"),
        (audio, "flatten_patch_embeds", True),
        (audio, "patch_embed_input_channels", 1),
    ):
        if section.get(key, needed) != needed:
            raise EncoderError(f"{key} is {section[key]!r}: only {needed!r} is implemented.")
    shape = {ours: audio.get(key, default) for ours, (key, default) in _AUDIO_KEYS.items()}
    if isinstance(shape["patch_size"], list) and len(set(shape["patch_size"])) == 1:
        shape["patch_size"] = shape["patch_size"][0]
    if isinstance(shape["patch_stride"], int):
        shape["patch_stride"] = [shape["patch_stride"]] * 2
    heard = {ours: extractor[key] for ours, key in _LOG_MEL_KEYS.items() if key in extractor}
    log_mel = {"mel_bins": extractor.get("feature_size", shape["mel_bins"]), **heard}
    seconds, rate_hz = extractor.get("max_length_s", 10), log_mel.get("sample_rate_hz", 48_000)
    if not isinstance(seconds, int | float) or not isinstance(rate_hz, int):
        raise EncoderError(
            f"its feature extractor has max_length_s {seconds!r} and sampling_rate {rate_hz!r}: "
            "numbers are needed."
        )
    config = from_dict(
        ClapConfig,
        {
            "layout": "transformers",
            "text": {key: text.get(key, default) for key, default in _TEXT_DEFAULTS.items()},
            "audio": shape,
            "log_mel": log_mel,
            "clip_samples": int(seconds * rate_hz),
            "projection_size": values.get("projection_dim", 512),
            "projection_act": values.get("projection_hidden_act", "relu"),
        },
        where=where,
        kind=EncoderError,
    )
    if audio.get("hidden_size", 768) != config.audio.latent_size:
        raise EncoderError(
            f"audio_config.hidden_size is {audio.get('hidden_size', 768)}: {len(config.audio.depths)} stages "
            f"from {config.audio.embed_dim} channels end in {config.audio.latent_size}."
        )
    return config
