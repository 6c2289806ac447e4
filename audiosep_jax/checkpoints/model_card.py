"""The README.md of a published checkpoint."""

from audiosep_jax.config import ExperimentConfig

FILE = "README.md"


def text(config: ExperimentConfig) -> str:
    """Returns a model card with the facts of the config; the author completes the rest."""
    model = config.model
    towers = {"none": "none: conditions are given as vectors"}
    encoder = towers.get(config.query.encoder, config.query.encoder)
    datasets = "\n".join(f"- `{name}`" for name in config.data.datasets) or "Not recorded."
    return f"""---
library_name: audiosep_jax
pipeline_tag: audio-to-audio
tags:
- audio
- audio-source-separation
- jax
- flax
---

# {config.name}

A model that extracts the sound that a sentence describes: [AudioSep](https://arxiv.org/abs/2308.05037) in
JAX/Flax, for the package audiosep_jax.

```python
import audiosep_jax

model = audiosep_jax.load("THIS/REPOSITORY")
mixture = audiosep_jax.read_audio("street.wav")
separated = model.separate(mixture.waveform, mixture.sample_rate_hz, query="a dog barks")
```

| | |
| --- | --- |
| sample rate | {model.sample_rate_hz} Hz |
| STFT window, hop | {model.window_length}, {model.hop_length} samples |
| encoder widths | {", ".join(map(str, model.encoder_widths))} |
| query encoder | {encoder} |
| condition | {model.condition_size} numbers |

## Training data

{datasets}

## Licence and limits

To be completed by the author: under which licence the weights are, what they were measured on, and where they
fail.
"""
