"""Shape of a CLAP, from the `config.json` of its folder."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from audiosep_jax.encoders import model_files
from audiosep_jax.encoders.bert import BertConfig, check_activation
from audiosep_jax.errors import AudioSepError, EncoderError
from audiosep_jax.utils.serialization import from_dict, to_dict

Layout = Literal["laion", "transformers"]
"""Whose names the tensors have."""

LAION_MODEL_TYPE = "laion_clap"

MEL_MATRIX = "audio_branch.logmel_extractor.melW"

# transformers' values for missing keys of config.json, where they are not our defaults.
TEXT_DEFAULTS = {
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
# Our field -> transformers' key and its default.
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
class RobertaConfig(BertConfig):
    """Shape of a RoBERTa encoder; fields are named as in transformers' `config.json`."""

    pad_token_id: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.pad_token_id < self.vocab_size:
            raise EncoderError(
                f"pad_token_id is {self.pad_token_id}: it must be one of the {self.vocab_size} tokens."
            )
        if self.max_tokens < 3:
            raise EncoderError(
                f"max_position_embeddings is {self.max_position_embeddings}: positions start at "
                f"{self.pad_token_id + 1}, which leaves no room for a text."
            )

    @property
    def max_tokens(self) -> int:
        """Most tokens of a text: the table's first `pad_token_id + 1` positions belong to padding."""
        return self.max_position_embeddings - self.pad_token_id - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class HtsatConfig:
    """Shape of an HTSAT; the defaults are those of LAION's models."""

    embed_dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    spec_size: int = 256  # height and width of the image that holds the folded spectrogram
    mel_bins: int = 64
    patch_size: int = 4
    patch_stride: tuple[int, int] = (4, 4)
    patch_norm: bool = True
    window_size: int = 8
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        numbers = {name: value for name, value in vars(self).items() if isinstance(value, int | float)}
        del numbers["patch_norm"], numbers["qkv_bias"]
        if min(*numbers.values(), *self.depths, *self.heads, *self.patch_stride, 1) <= 0:
            raise EncoderError(
                f"all of {numbers}, depths {self.depths}, heads {self.heads} and patch_stride "
                f"{self.patch_stride} must be positive."
            )
        if not self.depths or len(self.depths) != len(self.heads):
            raise EncoderError(
                f"depths {self.depths} and heads {self.heads} must have one entry for each stage."
            )
        for stage, heads in enumerate(self.heads):
            if self.stage_size(stage) % heads:
                raise EncoderError(
                    f"stage {stage} has size {self.stage_size(stage)}: it must be a multiple of its {heads} "
                    "heads."
                )
        check_activation(self.hidden_act)
        self._check_image()

    def _check_image(self) -> None:
        if self.mel_bins > self.spec_size or self.spec_size % self.freq_ratio:
            raise EncoderError(
                f"spec_size is {self.spec_size}: an image of that height must hold a whole number of stacked "
                f"spectrograms of {self.mel_bins} mel bins or a little more."
            )
        for grid, stride, padding in zip(self.grid, self.patch_stride, self.patch_padding, strict=True):
            patches = (self.spec_size + 2 * padding - self.patch_size) // stride + 1
            halvings = 2 ** (len(self.depths) - 1)
            if padding < 0 or patches != grid or grid % halvings or not grid:
                raise EncoderError(
                    f"patches of {self.patch_size} at a stride of {stride} must tile spec_size "
                    f"{self.spec_size} in a number that {len(self.depths)} stages can halve: a multiple of "
                    f"{halvings}."
                )

    @property
    def freq_ratio(self) -> int:
        """Number of pieces of a spectrogram that are stacked along the image's frequency axis."""
        return self.spec_size // self.mel_bins

    @property
    def most_frames(self) -> int:
        """Most frames of a spectrogram; shorter ones are stretched to as many."""
        return self.spec_size * self.freq_ratio

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the image in patches."""
        return self.spec_size // self.patch_stride[0], self.spec_size // self.patch_stride[1]

    @property
    def patch_padding(self) -> tuple[int, int]:
        """Rows and columns of zeros around the image, so that overlapping patches tile it."""
        return (self.patch_size - self.patch_stride[0]) // 2, (self.patch_size - self.patch_stride[1]) // 2

    @property
    def latent_size(self) -> int:
        """Length of the vector that `apply` returns."""
        return self.stage_size(len(self.depths) - 1)

    def stage_size(self, stage: int) -> int:
        """Channels of a stage."""
        return self.embed_dim * 2**stage

    def mlp_size(self, stage: int) -> int:
        """Width of the hidden layer in the blocks of a stage."""
        return int(self.mlp_ratio * self.stage_size(stage))

    def resolution(self, stage: int) -> tuple[int, int]:
        """Height and width of the image in a stage."""
        return self.grid[0] // 2**stage, self.grid[1] // 2**stage


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogMelConfig:
    """CLAP's mel spectrogram; the defaults are those of LAION's models and transformers' without fusion."""

    sample_rate_hz: int = 48_000
    window_length: int = 1024
    hop_length: int = 480
    mel_bins: int = 64
    frequency_min_hz: float = 50.0
    frequency_max_hz: float = 14_000.0

    def __post_init__(self) -> None:
        if min(self.sample_rate_hz, self.mel_bins) <= 0 or not 0 < self.hop_length <= self.window_length:
            raise EncoderError(
                f"sample_rate_hz {self.sample_rate_hz} and mel_bins {self.mel_bins} must be positive, and "
                f"hop_length {self.hop_length} within 1…window_length ({self.window_length})."
            )
        if self.window_length % 2:
            raise EncoderError(f"window_length is {self.window_length}: an even number is needed.")
        if not 0 <= self.frequency_min_hz < self.frequency_max_hz <= self.sample_rate_hz / 2:
            raise EncoderError(
                f"frequency_min_hz {self.frequency_min_hz:g} and frequency_max_hz {self.frequency_max_hz:g} "
                f"must be in order and within 0…{self.sample_rate_hz / 2:g}, half the sample rate."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClapConfig:
    """Shape of a CLAP."""

    layout: Layout
    text: RobertaConfig
    audio: HtsatConfig
    log_mel: LogMelConfig = LogMelConfig()
    clip_samples: int = 480_000  # of each sound after padding or cutting
    projection_size: int = 512  # length of a condition
    projection_act: str = "relu"  # between the two layers of the projections

    def __post_init__(self) -> None:
        if min(self.projection_size, self.clip_samples) < 1:
            raise EncoderError(
                f"projection_size ({self.projection_size}) and clip_samples ({self.clip_samples}) must be "
                "positive."
            )
        check_activation(self.projection_act, field="projection_act")
        if self.log_mel.mel_bins != self.audio.mel_bins:
            raise EncoderError(
                f"the audio tower takes {self.audio.mel_bins} mel bins and its front end gives "
                f"{self.log_mel.mel_bins}: they must be the same."
            )


def load(folder: str | Path) -> ClapConfig:
    """Reads the `config.json` of a transformers `ClapModel` or of a LAION tower folder.

    Raises:
      EncoderError: the file is missing or broken, or describes a model that is not implemented.
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
      EncoderError: the tensors have transformers' names, which need transformers' config.json.
    """
    values = to_dict(config)
    if values.pop("layout") != "laion":
        raise EncoderError("this CLAP has transformers' tensors: keep the config.json that came with them.")
    return {"model_type": LAION_MODEL_TYPE, **values}


def _extractor(folder: Path) -> dict[str, Any]:
    """Returns the feature extractor's settings; newer transformers store them in another file."""
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
    spectrum = {ours: extractor[key] for ours, key in _LOG_MEL_KEYS.items() if key in extractor}
    log_mel = {"mel_bins": extractor.get("feature_size", shape["mel_bins"]), **spectrum}
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
            "text": {key: text.get(key, default) for key, default in TEXT_DEFAULTS.items()},
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
