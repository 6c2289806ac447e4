"""Speed of the query encoders on this machine.

Run `python -m benchmarks.towers`. The encoders have the sizes of LAION's CLAP (RoBERTa-base, HTSAT-base) and
of CLIP ViT-B/32, and random weights, because times do not depend on values. A first call includes
compilation. "per second" is captions or clips per second of the median warm call.
"""

import dataclasses
import itertools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tokenizers
from safetensors.numpy import save_file
from tokenizers import models, pre_tokenizers, processors, trainers

import audiosep_jax
from audiosep_jax.encoders.cache import ConditionCache
from audiosep_jax.encoders.clap import config as clap_config
from audiosep_jax.encoders.clap import constants, log_mel
from audiosep_jax.encoders.clap import encoder as clap
from audiosep_jax.encoders.clap import params as clap_weights
from audiosep_jax.encoders.clap.config import ClapConfig, HtsatConfig, RobertaConfig
from audiosep_jax.encoders.clip import encoder as clip
from audiosep_jax.encoders.clip import towers
from audiosep_jax.encoders.clip.config import ClipConfig, ClipTextConfig, ClipVisionConfig
from audiosep_jax.encoders.images import load_preprocessing
from audiosep_jax.utils.serialization import from_dict
from benchmarks import timing
from benchmarks.timing import Timing, repeated, timed

LAION_CLAP = ClapConfig(
    layout="laion",
    text=from_dict(RobertaConfig, clap_config.TEXT_DEFAULTS | {"layer_norm_eps": 1e-5}),
    audio=HtsatConfig(embed_dim=128, depths=(2, 2, 12, 2), heads=(4, 8, 16, 32)),
)

CLIP_B32 = ClipConfig(text=ClipTextConfig(), vision=ClipVisionConfig())

# Sentences as in AudioCaps and Clotho: 2 to 18 words, 12 on average.
_SENTENCES: dict[str, list[str]] = json.loads(Path(__file__).with_name("captions.json").read_text("utf-8"))
_WHAT, _WHILE, _WHERE = (_SENTENCES[part] for part in ("what", "while", "where"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs:
    """Measure the query encoders."""

    captions: int = 512
    """Number of different captions."""
    clips: int = 8
    """Number of sounds of 10 s at 32 kHz."""
    repeats: int = 3
    """Warm calls of each kind."""


def captions(count: int) -> list[str]:
    """Returns different English captions, with their lengths mixed.

    Raises:
      UsageError: `count` is not positive or too large.
    """
    parts = itertools.product(_WHAT, _WHILE, _WHERE)
    sentences = [f"{' '.join(filter(None, words))}." for words in parts]
    if not 0 < count <= len(sentences):
        raise audiosep_jax.UsageError(f"--captions is {count}: give 1 to {len(sentences)}.")
    order = np.random.default_rng(0).permutation(len(sentences))
    return [sentences[place] for place in order[:count]]


def measure(
    args: BenchmarkArgs, *, clap_shape: ClapConfig = LAION_CLAP, clip_shape: ClipConfig = CLIP_B32
) -> list[Timing]:
    """Times CLAP's loading, texts, the cache and sounds, and CLIP's texts."""
    texts = captions(args.captions)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clap(folder, clap_shape, rng)
        # Start the backend, which is not part of loading the tower.
        jax.block_until_ready(jax.numpy.zeros(1))
        timings = _texts_and_sounds(folder, texts, rng, args)
        encoder = _clip(clip_shape, folder, rng)
    timings.append(
        repeated(
            f"CLIP: {len(texts)} captions",
            lambda: encoder.encode(texts),
            repeats=args.repeats,
            amount=len(texts),
        )
    )
    return timings


def _texts_and_sounds(
    folder: Path, texts: Sequence[str], rng: np.random.Generator, args: BenchmarkArgs
) -> list[Timing]:
    encoder: Any  # pyright does not accept a cached property for a protocol's
    encoder, load_seconds = timed(lambda: clap.load(str(folder)))
    timings = [
        Timing(name="CLAP: load the text tower", first=load_seconds),
        repeated("CLAP: one caption", lambda: encoder.encode(texts[:1]), repeats=args.repeats, amount=1),
        repeated(
            f"CLAP: {len(texts)} captions",
            lambda: encoder.encode(texts),
            repeats=args.repeats,
            amount=len(texts),
        ),
    ]
    cache = folder / "cache"
    _, hash_seconds = timed(lambda: encoder.fingerprint)
    timings.append(Timing(name="CLAP: fingerprint, once per process", first=hash_seconds))
    written, write_seconds = timed(lambda: ConditionCache(encoder, folder=cache).conditions(texts))
    timings.append(
        Timing(name=f"{len(texts)} captions into the cache", first=write_seconds, amount=len(texts))
    )
    counted = _Counted(encoder)
    timings.append(
        repeated(
            f"{len(texts)} captions from the cache's file",
            lambda: np.testing.assert_array_equal(
                ConditionCache(counted, folder=cache).conditions(texts), written
            ),
            repeats=args.repeats,
            amount=len(texts),
        )
    )
    if counted.calls:
        raise AssertionError("the tower encoded captions that are in the cache's file")
    sounds = list(0.1 * rng.standard_normal((args.clips, 320_000), np.float32))
    timings.append(
        repeated(
            f"CLAP: {args.clips} sounds of 10 s",
            lambda: encoder.encode_audio(sounds, sample_rate_hz=32_000),
            repeats=args.repeats,
            amount=args.clips,
        )
    )
    return timings


class _Counted:
    """An encoder that counts its texts."""

    def __init__(self, encoder: clap.ClapEncoder) -> None:
        self.condition_size, self.fingerprint = encoder.condition_size, encoder.fingerprint
        self.calls = 0
        self._encoder = encoder

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.calls += len(texts)
        return self._encoder.encode(texts)


def write_clap(folder: Path, config: ClapConfig, rng: np.random.Generator) -> None:
    """Writes a tower folder with random weights."""
    shapes = clap_weights.tensor_shapes(config)
    tensors = {name: _draw(shape, rng) for name, shape in shapes.items()}
    tensors |= {
        name: np.ascontiguousarray(value, np.int64 if value.dtype.kind == "i" else np.float32)
        for name, value in constants.constants(config)
    }
    tensors[clap_config.MEL_MATRIX] = log_mel.mel_matrix(config.log_mel)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(clap_config.to_json(config)))
    tokenizer().save(str(folder / "tokenizer.json"))


def tokenizer() -> tokenizers.Tokenizer:
    """Returns a byte-level tokenizer like RoBERTa's that knows the captions' words."""
    made = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        vocab_size=2000,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator([*_WHAT, *(f" {words}" for words in (*_WHILE, *_WHERE))], trainer)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return made


def _clip(config: ClipConfig, folder: Path, rng: np.random.Generator) -> clip.ClipEncoder:
    """Makes a CLIP with a random text tower, and without a vision tower."""
    shapes = jax.eval_shape(lambda key: towers.init(config, key)["text"], jax.random.key(0))
    params: dict[str, Any] = {"text": jax.tree.map(lambda leaf: _draw(leaf.shape, rng), shapes)}
    return clip.ClipEncoder(
        config,
        params,
        tokenizer(),
        tokenizer_hash="",
        preprocessing=load_preprocessing(folder, image_size=config.vision.image_size),
    )


def _draw(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if len(shape) < 2:
        return np.ones(shape, np.float32)
    return np.float32(0.02) * rng.standard_normal(shape, np.float32)


if __name__ == "__main__":
    timing.run(lambda args: timing.table(measure(args), speed="per second"), BenchmarkArgs)
