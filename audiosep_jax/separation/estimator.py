"""One pass of the model for all queries: one spectrum, a mask per condition, an estimate per query."""

import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from audiosep_jax.audio.stft import istft
from audiosep_jax.audio.windows import Process
from audiosep_jax.errors import QueryError
from audiosep_jax.models import masking
from audiosep_jax.models.inference import cpu_compile
from audiosep_jax.models.inference.engine import Engine
from audiosep_jax.separation.options import Options
from audiosep_jax.separation.queries import Query
from audiosep_jax.separation.stream import Work

# One call leaves cores idle in its serial parts; an accelerator gets its next batch before the last result is
# fetched.
_IN_FLIGHT = 2

# A power below this is silence: masks that are all this small share nothing.
_SMALLEST_POWER = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """One estimate of a task, as rows of `Task.conditions`."""

    positive: int | None  # the sound that is estimated; None if the query has only `without`
    negatives: tuple[int, ...]  # the sounds that must not be in the estimate, each once


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Everything that one pass computes: an estimate per query."""

    conditions: Float32[np.ndarray, "conditions size"]  # each once, even if several queries use it
    estimates: tuple[Estimate, ...]
    stems: bool = False  # the estimates share the mixture: their masks sum to at most one

    @property
    def plain(self) -> bool:
        """Whether every estimate is the model's own, so that no mask depends on another."""
        counts = [(each.positive is not None) + len(each.negatives) for each in self.estimates]
        return not self.stems and max(counts) == 1


def task_for(queries: Sequence[Query], condition_of: Callable[[Query], np.ndarray], *, stems: bool) -> Task:
    """Returns the task of a pass; `condition_of` returns the condition of a query without its negatives.

    Raises:
      QueryError: a stem has only `without`.
      AudioSepError: as `condition_of`.
    """
    rows: dict[bytes, tuple[int, np.ndarray]] = {}

    def index(query: Query) -> int:
        condition = condition_of(query)
        return rows.setdefault(condition.tobytes(), (len(rows), condition))[0]

    estimates = []
    for query in queries:
        if stems and not query.parts:
            raise QueryError(f"{query.name} cannot be a stem: describe the stem's own sound.")
        positive = index(query) if query.parts else None
        negatives = tuple(dict.fromkeys(index(each) for each in query.negatives))
        estimates.append(Estimate(positive=positive, negatives=negatives))
    conditions = np.stack([condition for _, condition in rows.values()])
    return Task(conditions=conditions, estimates=tuple(estimates), stems=stems)


class Estimator:
    """Computes the estimates of a task, window by window."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._separate = _Once(cpu_compile.jit(engine.apply))
        self._mask = _Once(cpu_compile.jit(engine.mask))
        self._spectrum = _Once(cpu_compile.jit(self._transform))
        self._estimates: dict[tuple, _Once] = {}

    def work(self, task: Task, options: Options) -> Work:
        """Returns what is computed for every window."""
        process, outputs = self.process(task)
        return Work(
            process=process,
            outputs=outputs,
            estimates=len(task.estimates),
            # A CPU gains nothing from several windows in a call, and pays for those that only fill a batch.
            batch_size=1 if jax.default_backend() == "cpu" else 8,
            in_flight=_IN_FLIGHT,
            shared=options.channel_mask == "shared",
            extend=options.high_band == "extend",
            working_level_db=self._engine.config.working_level_db if options.level == "working" else None,
        )

    def process(self, task: Task) -> tuple[Process, int]:
        """Returns the function of a window, and the number of its outputs.

        The function takes `[rows, channels, window]` and returns `[rows, outputs, channels, window]`. The
        channels of a row share their masks: the network gets their root mean square, and all channels are
        filtered alike, so that levels and phases between them stay as they are. The outputs are the
        estimates. If the task is not plain, the model's own estimate of each query follows, from the mask
        before it is combined with others. For a query that has only `without`, both are its negatives.
        """
        engine, estimates = self._engine, self._combining(task)
        columns = engine.columns(task.conditions)
        alone = task.plain and len(task.estimates) == 1

        def process(windows: Float32[np.ndarray, "rows channels window"]) -> np.ndarray:
            of_rows = [np.repeat(column[None], len(windows), axis=0) for column in columns]
            if alone and windows.shape[1] == 1:
                return np.asarray(self._separate(engine.params, windows[:, 0], of_rows[0]))[:, None, None]
            real, imag, magnitude, joint = self._spectrum(windows)
            masks = tuple(self._mask(engine.params, joint, each) for each in of_rows)
            return np.asarray(estimates(real, imag, magnitude, masks, windows[0, 0]))

        return process, len(task.estimates) * (1 if task.plain else 2)

    def _transform(self, windows: Float[Array, "rows channels window"]) -> tuple[Array, Array, Array, Array]:
        rows, channels, samples = windows.shape
        parts = masking.spectrum(self._engine.config, windows.reshape(rows * channels, samples))
        real, imag, magnitude = (part.reshape(rows, channels, *part.shape[1:]) for part in parts)
        joint = magnitude[:, 0] if channels == 1 else jnp.sqrt(jnp.mean(magnitude**2, axis=1))
        return real, imag, magnitude, joint

    def _combining(self, task: Task) -> "_Once":
        key = (task.stems, tuple((each.positive, each.negatives) for each in task.estimates))
        if key not in self._estimates:
            self._estimates[key] = _Once(
                cpu_compile.jit(functools.partial(self._combine, task.estimates, task.stems, task.plain))
            )
        return self._estimates[key]

    def _combine(
        self,
        estimates: Sequence[Estimate],
        stems: bool,
        plain: bool,
        real: Float[Array, "rows channels frames bins"],
        imag: Float[Array, "rows channels frames bins"],
        magnitude: Float[Array, "rows channels frames bins"],
        masks: Sequence[masking.Mask],
        window: Float[Array, " window"],
    ) -> Float[Array, "rows outputs channels window"]:
        config, samples = self._engine.config, window.shape[0]

        rows, channels = real.shape[:2]
        spectrum = [part.reshape(rows * channels, *part.shape[2:]) for part in (real, imag, magnitude)]

        def waveform(mask: masking.Mask) -> Array:
            gain, cos, sin = (jnp.repeat(part, channels, axis=0) for part in mask)
            estimate = istft(
                *masking.masked(spectrum[0], spectrum[1], spectrum[2], (gain, cos, sin)),
                window_length=config.window_length,
                hop_length=config.hop_length,
                samples=masking.padded_samples(config, samples),
            )
            return estimate[:, :samples].reshape(rows, channels, samples)

        raw = [_own_mask(each, masks) for each in estimates]
        if plain:
            return jnp.stack([waveform(mask) for mask in raw], axis=1)
        gains = [gain for gain, _, _ in raw]
        for index, each in enumerate(estimates):
            if each.positive is not None and each.negatives:
                gains[index] = _without(gains[index], [masks[other][0] for other in each.negatives])
        if stems:
            gains = _shared(gains)
        final = [(gain, *mask[1:]) for gain, mask in zip(gains, raw, strict=True)]
        return jnp.stack([waveform(mask) for mask in (*final, *raw)], axis=1)


def _own_mask(estimate: Estimate, masks: Sequence[masking.Mask]) -> masking.Mask:
    """Returns the mask of a query, or that of all its negatives together if it has only these."""
    if estimate.positive is not None:
        return masks[estimate.positive]
    taken = [masks[index] for index in estimate.negatives]
    if len(taken) == 1:
        return taken[0]
    gains = _shared([gain for gain, _, _ in taken])
    # Every negative rotates the phase in proportion to its gain; the length of the sum is part of the gain.
    cos = sum(gain * mask[1] for gain, mask in zip(gains, taken, strict=True))
    sin = sum(gain * mask[2] for gain, mask in zip(gains, taken, strict=True))
    return jnp.ones_like(gains[0]), jnp.asarray(cos), jnp.asarray(sin)


def _without(
    gain: Float[Array, "*shape"], negatives: Sequence[Float[Array, "*shape"]]
) -> Float[Array, "*shape"]:
    """Returns a mask p lowered where its negatives n are louder: p times the Wiener gain p² / (p² + Σn²).

    All masks are of the magnitude, in (0, 1).
    """
    power = gain**2
    return gain * power / jnp.maximum(power + sum(negative**2 for negative in negatives), _SMALLEST_POWER)


def _shared(gains: Sequence[Float[Array, "*shape"]]) -> list[Float[Array, "*shape"]]:
    """Returns masks that sum to at most one; a single mask stays as it is.

    Each query gets its part of the total power (Wiener 1949) of a joint mask. The joint mask is the root of
    the total power, at most one. All masks are of the magnitude, in (0, 1).
    """
    powers = [gain**2 for gain in gains]
    total = jnp.maximum(sum(powers[1:], powers[0]), _SMALLEST_POWER)
    scale = jnp.minimum(jnp.sqrt(total), 1) / total
    return [power * scale for power in powers]


class _Once:
    """A function of arrays for several threads. The first call with new shapes compiles; others wait."""

    def __init__(self, function: Any) -> None:
        self._function, self._lock = function, threading.Lock()
        self._programs: dict[tuple, Callable] = {}

    def __call__(self, *arguments: Any) -> Any:
        # JAX runs line by line to find an error.
        if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
            return self._function(*arguments)
        key = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arguments))
        if key not in self._programs:
            with self._lock:
                if key not in self._programs:
                    program = self._function.lower(*arguments).compile()
                    # The compiler's memory goes back before the buffers of the first call are added to it.
                    cpu_compile.return_memory()
                    self._programs[key] = program
        return self._programs[key](*arguments)
