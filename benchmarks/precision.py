"""Error of bfloat16: signal-to-noise ratios of estimates from convolutions with rounded operands.

Run `python -m benchmarks.precision`: a dog and a fire of the demo. Operands are rounded to bfloat16 and their
products summed in float32, as processors and accelerators do; everything else stays float32. It measures the
rounding and not the speed, so any machine will do.
"""

import contextlib
import dataclasses
import unittest.mock
from collections.abc import Callable, Iterator
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import audiosep_jax
from audiosep_jax.audio.reading import read_audio
from audiosep_jax.config import ModelConfig
from audiosep_jax.models import masking, separator
from audiosep_jax.models.inference import folded, strips, winograd
from benchmarks import timing


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkArgs(timing.ModelArgs):
    """Measure the error of bfloat16."""


@contextlib.contextmanager
def rounded_operands() -> Iterator[None]:
    """Rounds the operands of convolutions and Winograd's products in programs traced inside."""

    def with_rounded(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
        return lambda inputs, kernel: function(_rounded(inputs), _rounded(kernel))

    with (
        unittest.mock.patch.object(folded, "convolve", with_rounded(folded.convolve)),
        unittest.mock.patch.object(winograd, "multiply", with_rounded(winograd.multiply)),
    ):
        yield


def ratios_db(
    config: ModelConfig, variables: separator.Variables, mixture: np.ndarray, condition: np.ndarray
) -> dict[str, float]:
    """Returns the SNR of each variant against float32 without Winograd's algorithm, in dB."""
    params = jax.tree.map(jnp.asarray, folded.fold(config, variables))
    columns = folded.film_columns(params, jnp.asarray(condition)[None])

    def estimate(network: ModuleType) -> np.ndarray:
        def mask(magnitude: Array) -> masking.Mask:
            return masking.activate(network.mask_logits(config, params, magnitude, columns))

        return np.asarray(jax.jit(lambda waveform: masking.separate(config, waveform, mask))(mixture[None]))

    exact = estimate(folded)
    found = {"float32, Winograd": estimate(strips)}
    with rounded_operands():
        found["bfloat16 operands"] = estimate(folded)
        found["bfloat16 operands, Winograd"] = estimate(strips)
    return {
        name: float(10 * np.log10(np.sum(exact**2) / max(np.sum((each - exact) ** 2), 1e-30)))
        for name, each in found.items()
    }


def report(args: BenchmarkArgs) -> str:
    """Measures and returns a table."""
    config, variables = args.load()
    if args.experiment is None:
        condition = audiosep_jax.load(args.checkpoint).condition(query="a dog barks")
    else:
        condition = np.random.default_rng(0).standard_normal(config.condition_size, np.float32) / 20
    clips = [
        read_audio(timing.DEMO / name, sample_rate_hz=config.sample_rate_hz, mono=True).waveform[0]
        for name in ("dog_barking_1.ogg", "fire_1.ogg")
    ]
    samples = min(len(clip) for clip in clips)
    mixture = np.sum([clip[:samples] / np.std(clip[:samples]) for clip in clips], axis=0) / 20
    found = ratios_db(config, variables, mixture.astype(np.float32), condition)
    rows = [[name, f"{ratio:.1f} dB"] for name, ratio in found.items()]
    return timing.markdown(("computed in", "SNR to float32"), rows)


def _rounded(values: Array) -> Array:
    return jnp.asarray(values).astype(jnp.bfloat16).astype(jnp.float32)


if __name__ == "__main__":
    timing.run(report, BenchmarkArgs)
