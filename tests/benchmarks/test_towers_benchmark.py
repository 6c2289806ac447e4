import dataclasses
import importlib
from pathlib import Path

import pytest

from audiosep_jax.encoders.clap.config import HtsatConfig
from audiosep_jax.encoders.clip.config import ClipConfig, ClipTextConfig, ClipVisionConfig
from audiosep_jax.errors import AudioSepError


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return importlib.import_module("benchmarks.towers")


@pytest.mark.slow
def test_each_kind_of_call_is_timed(benchmark):
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    clap_shape = dataclasses.replace(
        benchmark.LAION_CLAP,
        text=dataclasses.replace(benchmark.LAION_CLAP.text, **small),
        audio=HtsatConfig(embed_dim=8, depths=(2, 1), heads=(1, 2)),
        projection_size=8,
    )
    clip_shape = ClipConfig(text=ClipTextConfig(**small), vision=ClipVisionConfig(**small), projection_dim=8)
    timings = benchmark.measure(
        benchmark.BenchmarkArgs(captions=5, clips=2, repeats=2), clap_shape=clap_shape, clip_shape=clip_shape
    )
    assert [timing.name for timing in timings] == [
        "CLAP: load the text tower",
        "CLAP: one caption",
        "CLAP: 5 captions",
        "CLAP: fingerprint, once per process",
        "5 captions into the cache",
        "5 captions from the cache's file",
        "CLAP: 2 sounds of 10 s",
        "CLIP: 5 captions",
    ]
    for timing in timings:
        assert len(timing.warm) in (0, 2)
        if timing.name.startswith("CL") and timing.warm:
            # Compilation is in the first call and in no other.
            assert timing.first > max(timing.warm) > 0


def test_captions_are_different_sentences_of_many_lengths(benchmark):
    texts = benchmark.captions(512)
    assert len(set(texts)) == 512
    ids = [encoding.ids for encoding in benchmark.tokenizer().encode_batch(texts)]
    words = [len(text.split()) for text in texts]
    assert min(words) <= 5
    assert 8 <= sum(words) / 512 <= 12
    assert max(words) >= 16
    # About a token for each word, the end of the sentence, and two around it, as with RoBERTa's tokenizer.
    assert all(count < len(tokens) <= 1.5 * count + 4 for count, tokens in zip(words, ids, strict=True))
    assert benchmark.captions(3) == texts[:3]
    with pytest.raises(AudioSepError, match="--captions is 0"):
        benchmark.captions(0)
