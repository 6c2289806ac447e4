"""Shape of a CLAP, derived from the shapes of LAION's tensors, some of which may be missing or wrong."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from audiosep_jax.encoders.clap.config import (
    MEL_MATRIX,
    TEXT_DEFAULTS,
    ClapConfig,
    HtsatConfig,
    LogMelConfig,
    RobertaConfig,
)
from audiosep_jax.errors import AudioSepError, EncoderError

# More layers than any tower has: a hostile file's names may contain any number.
_MOST_LAYERS = 1000

AUDIO_PREFIX = "audio_branch."

_LEAVES = (("weight", 2), ("bias", 1))


def from_shapes(shapes: Mapping[str, tuple[int, ...]], *, where: str = "tensors") -> ClapConfig:
    """Derives the shape of a CLAP from the shapes of LAION's tensors, by their names without a prefix.

    Each size is a majority vote of the tensors that reveal it, so that `params.tensor_problems` can name the
    missing and mis-shaped ones. Values that no tensor reveals are those of all of LAION's files: 48 kHz, a
    hop of 480 samples, 50 Hz to 14 kHz, heads of 64 in the text tower, GELU in the towers and ReLU in the
    projections.

    Raises:
      EncoderError: the tensors belong to a model with fusion, with other towers, or to none.
    """
    audio = htsat_config(shapes, where=where)
    kernels = [f"audio_branch.spectrogram_extractor.stft.conv_{part}.weight" for part in ("real", "imag")]
    bins = [_axis(shapes, MEL_MATRIX, 0, rank=2), *(_axis(shapes, name, 0, rank=3) for name in kernels)]
    log_mel = LogMelConfig()
    projections = [
        _axis(shapes, f"{tower}_projection.{layer}.{leaf}", 0, rank=rank)
        for tower in ("text", "audio")
        for layer in (0, 2)
        for leaf, rank in _LEAVES
    ]
    return ClapConfig(
        layout="laion",
        text=_roberta_config(shapes, where=where),
        audio=audio,
        log_mel=LogMelConfig(
            window_length=_most(
                (None if size is None else 2 * (size - 1) for size in bins),
                default=log_mel.window_length,
                least=log_mel.hop_length,
            ),
            mel_bins=audio.mel_bins,
        ),
        projection_size=_most(projections, default=512),
    )


def _roberta_config(shapes: Mapping[str, tuple[int, ...]], *, where: str) -> RobertaConfig:
    branch = _branch(shapes, "text_branch.")
    # A layer has sixteen tensors: one stray tensor is no layer.
    layers = _numbered(branch, "encoder.layer.", least=4)
    # BERT has RoBERTa's tensor names but two token types; BART and CLIP have other names.
    if not layers or _axis(branch, "embeddings.token_type_embeddings.weight", 0, rank=2) == 2:
        raise EncoderError(
            f"{where} holds no RoBERTa text tower (text_branch.embeddings…, with one token type): CLAPs with "
            "BERT, BART or CLIP's transformer are not implemented."
        )
    prefixes = [f"encoder.layer.{index}." for index in range(layers)]
    norms = ["embeddings.LayerNorm.", *(f"{prefix}output.LayerNorm." for prefix in prefixes)]
    sizes = [_axis(branch, f"{norm}{leaf}", 0, rank=1) for norm in norms for leaf in ("weight", "bias")]
    parts = ("self.query", "self.key", "self.value", "output.dense")
    sizes += [
        _axis(branch, f"{prefix}attention.{part}.weight", place, rank=2)
        for prefix in prefixes
        for part in parts
        for place in (0, 1)
    ]
    size = _most(sizes, default=TEXT_DEFAULTS["hidden_size"])
    if size % 64:
        raise EncoderError(f"{where} has a text tower of size {size}: RoBERTa's heads have 64 each.")
    inner = [_axis(branch, f"{prefix}intermediate.dense.weight", 0, rank=2) for prefix in prefixes]
    inner += [_axis(branch, f"{prefix}intermediate.dense.bias", 0, rank=1) for prefix in prefixes]
    inner += [_axis(branch, f"{prefix}output.dense.weight", 1, rank=2) for prefix in prefixes]
    positions = _axis(branch, "embeddings.position_embeddings.weight", 0, rank=2)
    position_ids = _axis(branch, "embeddings.position_ids", 1, rank=2)
    words = _axis(branch, "embeddings.word_embeddings.weight", 0, rank=2)
    return RobertaConfig(
        vocab_size=_most([words], default=TEXT_DEFAULTS["vocab_size"], least=2),
        hidden_size=size,
        num_hidden_layers=layers,
        num_attention_heads=size // 64,
        intermediate_size=_most(inner, default=4 * size),
        max_position_embeddings=_most(
            [positions, position_ids], default=TEXT_DEFAULTS["max_position_embeddings"], least=5
        ),
        type_vocab_size=1,
        hidden_act="gelu",
        layer_norm_eps=1e-5,
        pad_token_id=1,
    )


def htsat_config(shapes: Mapping[str, tuple[int, ...]], *, where: str = "tensors") -> HtsatConfig:
    """Derives the shape of the audio tower, as `from_shapes` does, from the names `audio_branch.…`.

    Values that no tensor reveals are those of all of LAION's models: patches that do not overlap, exact GELU,
    1e-5 in the norms.

    Raises:
      EncoderError: there is no HTSAT, it has feature fusion, or its sizes contradict each other.
    """
    branch = _branch(shapes, AUDIO_PREFIX)
    if any(part in name for name in branch for part in ("fusion_model", "mel_conv")):
        raise EncoderError(
            f"{where} is a CLAP with feature fusion, which is not implemented: take an unfused model."
        )
    # A block has a dozen tensors: one stray tensor is no block.
    depths = [
        _numbered(branch, f"layers.{stage}.blocks.", least=4)
        for stage in range(_numbered(branch, "layers.", least=4))
    ]
    if not depths or 0 in depths:
        raise EncoderError(
            f"{where} holds no HTSAT audio tower: {AUDIO_PREFIX}layers.{len(depths) and depths.index(0)}."
            "blocks.… are missing."
        )
    embed_dim, inner = _widths(branch, depths)
    patch_size = _most(
        (_axis(branch, "patch_embed.proj.weight", place, rank=4) for place in (2, 3)), default=4
    )
    windows = _windows(branch, depths)
    statistics = ("weight", "bias", "running_mean", "running_var")
    bins = [_axis(branch, f"bn0.{leaf}", 0, rank=1) for leaf in statistics]
    try:
        return HtsatConfig(
            embed_dim=embed_dim,
            depths=tuple(depths),
            heads=_heads(branch, depths, embed_dim),
            spec_size=_spec_size(branch, depths, windows, patch_size),
            mel_bins=_most([*bins, _axis(branch, "logmel_extractor.melW", 1, rank=2)], default=64),
            patch_size=patch_size,
            patch_stride=(patch_size, patch_size),
            patch_norm=any(f"patch_embed.norm.{leaf}" in branch for leaf in statistics[:2]),
            window_size=max(windows),
            mlp_ratio=inner / embed_dim,
            qkv_bias=any(name.endswith(".attn.qkv.bias") for name in branch),
        )
    except AudioSepError as error:
        raise EncoderError(f"{where} holds no usable HTSAT audio tower: {error}") from None


def _widths(branch: Mapping[str, tuple[int, ...]], depths: list[int]) -> tuple[int, int]:
    """Channels of the first stage, and of the hidden layer in its blocks; each next stage doubles both."""
    sizes = [_axis(branch, "patch_embed.proj.weight", 0, rank=4)]
    sizes += [_axis(branch, f"patch_embed.{name}", 0, rank=1) for name in ("proj.bias", "norm.weight")]
    inners: list[int | None] = []
    for stage, depth in enumerate(depths):
        for prefix in (f"layers.{stage}.blocks.{block}" for block in range(depth)):
            found = [
                _axis(branch, f"{prefix}.{name}", 0, rank=1) for name in ("norm1.weight", "norm2.weight")
            ]
            found += [_axis(branch, f"{prefix}.attn.proj.weight", place, rank=2) for place in (0, 1)]
            sizes += [_part(size, 2**stage) for size in found]
            found = [_axis(branch, f"{prefix}.mlp.fc1.{name}", 0, rank=rank) for name, rank in _LEAVES]
            found.append(_axis(branch, f"{prefix}.mlp.fc2.weight", 1, rank=2))
            inners += [_part(size, 2**stage) for size in found]
    size = _most(sizes, default=128)
    return size, _most(inners, default=4 * size)


def _windows(branch: Mapping[str, tuple[int, ...]], depths: list[int]) -> list[int]:
    """The window of every stage, from its tables of biases, indices and masks."""
    known: list[int] = []
    for stage, depth in enumerate(depths):
        found: list[int | None] = []
        for attention in (f"layers.{stage}.blocks.{block}.attn" for block in range(depth)):
            side = _root(_axis(branch, f"{attention}.relative_position_bias_table", 0, rank=2))
            found.append((side + 1) // 2 if side and side % 2 else None)
            found.append(_root(_axis(branch, f"{attention}.relative_position_index", 0, rank=2)))
            found.append(_root(_axis(branch, f"{attention}_mask", 1, rank=3)))
        known.append(_most(found, default=0))
    # Only a small image in the last stage makes a window smaller.
    return [window or max(known) or 8 for window in known]


def _heads(branch: Mapping[str, tuple[int, ...]], depths: list[int], embed_dim: int) -> tuple[int, ...]:
    """The heads of every stage: a vote of its own tables; the other stages decide ties."""
    own = []
    for stage, depth in enumerate(depths):
        tables = (
            f"layers.{stage}.blocks.{block}.attn.relative_position_bias_table" for block in range(depth)
        )
        found = [_axis(branch, table, 1, rank=2) for table in tables]
        own.append([heads for heads in found if heads and embed_dim * 2**stage % heads == 0])
    known = [(stage, _most(found, default=1)) for stage, found in enumerate(own) if found] or [(0, 1)]
    return tuple(
        _most(
            # Every stage has twice the heads of the stage before.
            [*found * len(depths), *(_part(heads * 2**stage, 2**other) for other, heads in known)],
            default=1,
        )
        for stage, found in enumerate(own)
    )


def _spec_size(
    branch: Mapping[str, tuple[int, ...]], depths: list[int], windows: list[int], stride: int
) -> int:
    """Height and width of the image, from the number of windows in the masks; 256 without any."""
    masks = [
        _root(_axis(branch, f"layers.{stage}.blocks.{block}.attn_mask", 0, rank=3))
        for stage, depth in enumerate(depths)
        for block in range(1, min(depth, 2))
    ]
    stages = [stage for stage, depth in enumerate(depths) if depth > 1]
    # Without masks, a window is the whole image in the stage with a smaller window than others.
    smaller = [stage for stage, window in enumerate(windows) if window < max(windows)]
    whole = (smaller or stages[-1:] or [None])[0]
    default = 256 if whole is None else windows[whole] * 2**whole * stride
    return _most(
        (
            side and windows[stage] * side * 2**stage * stride
            for stage, side in zip(stages, masks, strict=True)
        ),
        default=default,
    )


def _branch(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> dict[str, tuple[int, ...]]:
    named = (name for name in shapes if name.startswith(prefix))
    return {name.removeprefix(prefix): tuple(shapes[name]) for name in named}


def _part(size: int | None, parts: int) -> int | None:
    return None if size is None or size % parts else size // parts


def _root(area: int | None) -> int | None:
    """The side of a square, or None."""
    side = math.isqrt(area or 0)
    return side if side and side**2 == area else None


def _most(sizes: Iterable[int | None], *, default: int, least: int = 1) -> int:
    """Returns the most frequent size of at least `least`; the first of two equally frequent ones.

    A size is what one tensor reveals, or None.
    """
    counted = Counter(size for size in sizes if size is not None and size >= least)
    return counted.most_common(1)[0][0] if counted else default


def _axis(shapes: Mapping[str, tuple[int, ...]], name: str, index: int, *, rank: int) -> int | None:
    """Returns the length of an axis, or None if the tensor is missing or has another number of axes."""
    shape = shapes.get(name, ())
    return shape[index] if len(shape) == rank else None


def _numbered(shapes: Mapping[str, tuple[int, ...]], prefix: str, *, least: int) -> int:
    """Returns the number of parts `{prefix}0.…`, `{prefix}1.…`, with gaps.

    A part has at least `least` tensors; fewer are stray names.
    """
    pattern = re.compile(re.escape(prefix) + r"(\d{1,4})\.")
    counted = Counter(int(match[1]) for match in map(pattern.match, shapes) if match)
    whole = [number for number, count in counted.items() if count >= least and number < _MOST_LAYERS]
    return max(whole, default=-1) + 1
