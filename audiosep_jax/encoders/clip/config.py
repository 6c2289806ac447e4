"""Shape of a CLIP model, from transformers' `config.json`."""

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from audiosep_jax.encoders import model_files
from audiosep_jax.encoders.bert import check_layers
from audiosep_jax.errors import AudioSepError, EncoderError
from audiosep_jax.utils.serialization import from_dict


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipTowerConfig:
    """Fields of both towers, named as in transformers' `config.json`."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        positive = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("hidden_act", "eos_token_id")
        }
        if min(positive.values()) <= 0:
            raise EncoderError(f"all of {positive} must be positive.")
        check_layers(self.hidden_size, self.num_attention_heads, self.hidden_act)


# The defaults are those of transformers' CLIPTextConfig and CLIPVisionConfig (ViT-B/32): a config.json may
# omit equal values.
@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipTextConfig(ClipTowerConfig):
    """Shape of the text tower, pooled at `eos_token_id` (see `towers.end_of_text`)."""

    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    vocab_size: int = 49408
    max_position_embeddings: int = 77
    eos_token_id: int = 49407


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipVisionConfig(ClipTowerConfig):
    """Shape of the vision tower: square images of `image_size` pixels, cut into patches of `patch_size`."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_channels != 3:
            raise EncoderError(
                f"num_channels is {self.num_channels}: only red, green and blue are implemented."
            )
        if self.patch_size > self.image_size:
            raise EncoderError(
                f"patch_size is {self.patch_size}: it must not exceed image_size ({self.image_size})."
            )

    @property
    def num_patches(self) -> int:
        """Number of whole patches in an image; other pixels are ignored."""
        return (self.image_size // self.patch_size) ** 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Shape of a CLIP model: two towers and the size of their common space."""

    text: ClipTextConfig
    vision: ClipVisionConfig
    projection_dim: int = 512

    def __post_init__(self) -> None:
        if self.projection_dim <= 0:
            raise EncoderError(f"projection_dim is {self.projection_dim}: it must be positive.")


def load_config(path: str | Path) -> ClipConfig:
    """Reads a transformers `config.json`; missing keys take transformers' defaults.

    Raises:
      EncoderError: the file is missing or broken, describes another architecture, or has an invalid value.
    """
    path = Path(path)
    values = model_files.read_json(path)
    if values.get("model_type") != "clip":
        raise EncoderError(
            f'{path} has model_type {values.get("model_type")!r}: "clip", with both towers, is needed.'
        )
    projection_dim = values.get("projection_dim", ClipConfig.projection_dim)
    if not isinstance(projection_dim, int) or isinstance(projection_dim, bool):
        raise EncoderError(f"{path} has projection_dim {projection_dim!r}: a number is needed.")
    try:
        return ClipConfig(
            text=_tower(ClipTextConfig, values, "text_config"),
            vision=_tower(ClipVisionConfig, values, "vision_config"),
            projection_dim=projection_dim,
        )
    except AudioSepError as error:
        raise EncoderError(f"{path} describes no usable CLIP: {error}") from None


Tower = TypeVar("Tower", ClipTextConfig, ClipVisionConfig)


def _tower(kind: type[Tower], values: dict[str, Any], key: str) -> Tower:
    # Models saved before mid-2022 have both keys; transformers uses `…_dict`.
    described = next((values[name] for name in (f"{key}_dict", key) if values.get(name) is not None), {})
    if not isinstance(described, dict):
        raise EncoderError(f"{key} is {described!r}: a JSON object is needed.")
    names = [field.name for field in dataclasses.fields(kind)]
    return from_dict(
        kind, {name: described[name] for name in names if name in described}, where=key, kind=EncoderError
    )
