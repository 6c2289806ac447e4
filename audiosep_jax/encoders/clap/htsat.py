"""HTSAT, the audio tower of CLAP, in Flax Linen: log-mel frames in, one latent vector out."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from audiosep_jax.encoders.bert import ACTIVATIONS
from audiosep_jax.encoders.clap.htsat_blocks import DEFAULT_EPS, PatchMerging, SwinStage
from audiosep_jax.errors import EncoderError


@dataclasses.dataclass(frozen=True, kw_only=True)
class HtsatConfig:
    """Shape of an HTSAT; the defaults that are not sizes are those of LAION's models."""

    embed_dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    spec_size: int = 256  # height and width of the image that the spectrogram is folded into
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
        if self.hidden_act not in ACTIVATIONS:
            raise EncoderError(
                f"hidden_act is {self.hidden_act!r}: only {', '.join(ACTIVATIONS)} are implemented."
            )
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
        """How many pieces of a spectrogram are stacked along the frequencies of the image."""
        return self.spec_size // self.mel_bins

    @property
    def most_frames(self) -> int:
        """Frames of the longest spectrogram that fits; shorter ones are stretched to it."""
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


def interpolation_matrix(size: int, *, to: int) -> Float[np.ndarray, "to size"]:
    """Returns the matrix of PyTorch's bicubic interpolation along one axis, with aligned corners.

    The kernel is Keys' (1981) with a = -0.75; beyond the ends the border is repeated. Positions are computed
    in float32 as PyTorch computes them: a spectrogram in dB is steep enough that their rounding can be seen.

    Args:
      size: points of the signal.
      to: points of the result; the first and the last are those of the signal.
    """
    a = -0.75
    scale = np.float32(size - 1) / np.float32(to - 1) if to > 1 else np.float32(0)
    position = scale * np.arange(to, dtype=np.float32)
    left = np.minimum(np.floor(position).astype(np.int64), size - 1)
    offset = np.clip(position - left.astype(np.float32), 0, 1)
    far = np.abs(offset[:, None] - np.arange(-1.0, 3.0)[None])
    weights = np.where(
        far <= 1,
        ((a + 2) * far - (a + 3)) * far**2 + 1,
        ((a * far - 5 * a) * far + 8 * a) * far - 4 * a,
    )
    matrix = np.zeros((to, size), np.float64)
    for tap in range(4):
        points = np.clip(left + tap - 1, 0, size - 1)
        np.add.at(matrix, (np.arange(to), points), weights[:, tap])
    return matrix.astype(np.float32)


def fold(
    config: HtsatConfig, spectrogram: Float[Array, "batch frames mels"]
) -> Float[Array, "batch spec spec"]:
    """Stretches spectrograms to the longest that fits and stacks their pieces along the frequencies.

    Args:
      config: shape of the tower.
      spectrogram: at most `config.most_frames` frames.

    Returns:
      Images `[batch, frequency, time]`, `spec_size` high and wide.
    """
    batch, frames, mels = spectrogram.shape
    height = config.spec_size // config.freq_ratio
    if frames < config.most_frames:
        matrix = interpolation_matrix(frames, to=config.most_frames)
        spectrogram = jnp.einsum("tf,bfm->btm", matrix, spectrogram)
    if mels < height:
        matrix = interpolation_matrix(mels, to=height)
        spectrogram = jnp.einsum("hm,btm->bth", matrix, spectrogram)
    pieces = spectrogram.reshape(batch, config.freq_ratio, config.spec_size, height)
    return jnp.swapaxes(pieces, 2, 3).reshape(batch, config.spec_size, config.spec_size)


class FrozenBatchNorm(nn.Module):
    """Batch norm over the last axis by its running statistics, which are parameters like all others."""

    @nn.compact
    def __call__(self, x: Float[Array, "batch frames size"]) -> Float[Array, "batch frames size"]:
        """Returns the normalised array."""
        shape = (1, 1, x.shape[-1])
        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        names = {"mean": zeros, "var": ones, "scale": ones, "bias": zeros}
        mean, var, scale, bias = (self.param(*item, shape[-1:]).reshape(shape) for item in names.items())
        return (x - mean) * (scale / jnp.sqrt(var + DEFAULT_EPS)) + bias


class Htsat(nn.Module):
    """The encoder of "HTS-AT: A Hierarchical Token-Semantic Audio Transformer" (arXiv 2202.00874).

    It is frozen, so there is no dropout and no stochastic depth.
    """

    config: HtsatConfig

    @nn.compact
    def __call__(self, log_mel: Float[Array, "batch frames mels"]) -> Float[Array, "batch size"]:
        """Returns the mean of the last stage's positions."""
        config = self.config
        image = fold(config, FrozenBatchNorm(name="batch_norm")(log_mel))[..., None]
        image = nn.Conv(
            config.embed_dim,
            (config.patch_size, config.patch_size),
            strides=config.patch_stride,
            padding=[(padding, padding) for padding in config.patch_padding],
            name="patches",
        )(image)
        if config.patch_norm:
            image = nn.LayerNorm(epsilon=DEFAULT_EPS, use_fast_variance=False, name="patch_norm")(image)
        for stage, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
            if stage:
                image = PatchMerging(name=f"merging_{stage - 1}")(image)
            image = SwinStage(
                depth=depth,
                heads=heads,
                window=config.window_size,
                mlp_size=config.mlp_size(stage),
                activation=config.hidden_act,
                layer_norm_eps=config.layer_norm_eps,
                qkv_bias=config.qkv_bias,
                name=f"stage_{stage}",
            )(image)
        image = nn.LayerNorm(epsilon=DEFAULT_EPS, use_fast_variance=False, name="norm")(image)
        # The reference first groups the positions by frequency, for its classifier; their mean is the same.
        return jnp.mean(image, axis=(1, 2))


def apply(
    config: HtsatConfig, params: Mapping[str, Any], log_mel: Float[Array, "batch frames mels"]
) -> Float[Array, "batch size"]:
    """Returns the latents of spectrograms. Pure and jit-able; float32 products on every platform.

    Args:
      config: shape of the tower.
      params: as the functions of `htsat_weights` return them.
      log_mel: in dB, as `log_mel.log_mel` returns them, at most `config.most_frames` frames.

    Returns:
      `[batch, config.latent_size]`, before CLAP's projection: LAION's `embedding`, transformers'
      `pooler_output`.

    Raises:
      AudioSepError: the spectrograms have too many frames or another number of mel bins.
    """
    _, frames, mels = log_mel.shape
    if frames > config.most_frames or not frames or mels != config.mel_bins:
        raise EncoderError(
            f"The spectrograms have {frames} frames of {mels} mel bins: this audio tower takes 1 to "
            f"{config.most_frames} frames of {config.mel_bins}."
        )
    # Accelerators multiply in bfloat16 or TF32 by default; conditions are to be the same everywhere.
    with jax.default_matmul_precision("highest"):
        return Htsat(config).apply({"params": params}, log_mel)  # pyright: ignore[reportReturnType]
