"""One pass of the model for all queries: the spectrum once, a mask per description, an estimate per query."""

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
from audiosep_jax.separation import shares
from audiosep_jax.separation.queries import Query


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Wanted:
    """What is to be estimated, as rows of `Task.conditions`.

    Attributes:
      positive: what the estimate is; None for the mixture without `negatives`.
      negatives: what it is without; each once.
    """

    positive: int | None
    negatives: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """All that one pass is asked for.

    Attributes:
      conditions: `[conditions, size]`, each once, however many queries name it.
      wanted: one per estimate.
      stems: the estimates share the mixture, so that their masks sum to at most one.
    """

    conditions: Float32[np.ndarray, "conditions size"]
    wanted: tuple[Wanted, ...]
    stems: bool = False

    @property
    def plain(self) -> bool:
        """Whether every estimate is what the model says, and nothing is to be weighed against another."""
        return not self.stems and not any(len(_masks(each)) > 1 for each in self.wanted)


def task_for(queries: Sequence[Query], condition_of: Callable[[Query], np.ndarray], *, stems: bool) -> Task:
    """Returns the task of a pass, in which every condition stands once.

    Args:
      queries: one per estimate.
      condition_of: a query without its negatives -> its condition.
      stems: as in `Task`.

    Raises:
      AudioSepError: a stem has nothing but what it is without, or a condition cannot be had.
    """
    rows: dict[bytes, int] = {}
    conditions: list[np.ndarray] = []

    def index(query: Query) -> int:
        condition = condition_of(query)
        key = condition.tobytes()
        if key not in rows:
            rows[key] = len(conditions)
            conditions.append(condition)
        return rows[key]

    wanted = []
    for query in queries:
        if stems and not query.parts:
            raise QueryError(f"{query.name} is no stem: a stem needs a description of what it is.")
        positive = index(query) if query.parts else None
        negatives = tuple(dict.fromkeys(index(each) for each in query.negatives))
        wanted.append(Wanted(positive=positive, negatives=negatives))
    return Task(conditions=np.stack(conditions), wanted=tuple(wanted), stems=stems)


class Estimator:
    """Computes the estimates of a task, window by window.

    Args:
      engine: the model.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._separate = _Once(cpu_compile.jit(engine.apply))
        self._mask = _Once(cpu_compile.jit(engine.mask))
        self._spectrum = _Once(cpu_compile.jit(self._transform))
        self._estimates: dict[tuple, _Once] = {}

    def process(self, task: Task) -> tuple[Process, int]:
        """Returns the function of a window, and how many outputs it has.

        The function takes `[rows, channels, window]` and returns `[rows, outputs, channels, window]`. The
        channels of a row share their masks: the network hears their root mean square, and all are filtered
        alike, so that levels and phases between them stay as they are. The outputs are the estimates and,
        unless the task is plain, what the model says of each query before anything is weighed: of a query
        that only takes out, what it takes out, in both.
        """
        engine, estimates = self._engine, self._combining(task)
        columns = engine.columns(task.conditions)
        alone = task.plain and len(task.wanted) == 1

        def process(windows: Float32[np.ndarray, "rows channels window"]) -> np.ndarray:
            of_rows = [np.repeat(column[None], len(windows), axis=0) for column in columns]
            if alone and windows.shape[1] == 1:
                return np.asarray(self._separate(engine.params, windows[:, 0], of_rows[0]))[:, None, None]
            real, imag, magnitude, heard = self._spectrum(windows)
            masks = tuple(self._mask(engine.params, heard, each) for each in of_rows)
            return np.asarray(estimates(real, imag, magnitude, masks, windows[0, 0]))

        return process, len(task.wanted) * (1 if task.plain else 2)

    def _transform(self, windows: Float[Array, "rows channels window"]) -> tuple[Array, Array, Array, Array]:
        rows, channels, samples = windows.shape
        parts = masking.spectrum(self._engine.config, windows.reshape(rows * channels, samples))
        real, imag, magnitude = (part.reshape(rows, channels, *part.shape[1:]) for part in parts)
        heard = magnitude[:, 0] if channels == 1 else jnp.sqrt(jnp.mean(magnitude**2, axis=1))
        return real, imag, magnitude, heard

    def _combining(self, task: Task) -> "_Once":
        key = (task.stems, tuple((each.positive, each.negatives) for each in task.wanted))
        if key not in self._estimates:
            self._estimates[key] = _Once(
                cpu_compile.jit(functools.partial(self._combine, task.wanted, task.stems, task.plain))
            )
        return self._estimates[key]

    def _combine(
        self,
        wanted: Sequence[Wanted],
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

        raw = [_claimed(each, masks) for each in wanted]
        if plain:
            return jnp.stack([waveform(mask) for mask in raw], axis=1)
        gains = [gain for gain, _, _ in raw]
        for index, each in enumerate(wanted):
            if each.positive is not None and each.negatives:
                gains[index] = shares.without(gains[index], [masks[other][0] for other in each.negatives])
        if stems:
            gains = shares.stems(gains)
        final = [(gain, *mask[1:]) for gain, mask in zip(gains, raw, strict=True)]
        return jnp.stack([waveform(mask) for mask in (*final, *raw)], axis=1)


def _masks(wanted: Wanted) -> tuple[int, ...]:
    return (() if wanted.positive is None else (wanted.positive,)) + wanted.negatives


def _claimed(wanted: Wanted, masks: Sequence[masking.Mask]) -> masking.Mask:
    """Returns the mask of a query, or that of all its negatives together if it has nothing else."""
    if wanted.positive is not None:
        return masks[wanted.positive]
    taken = [masks[index] for index in wanted.negatives]
    if len(taken) == 1:
        return taken[0]
    gains = shares.stems([gain for gain, _, _ in taken])
    # The phase is rotated by all, each as far as it takes; the length of the sum is part of the gain.
    cos = sum(gain * mask[1] for gain, mask in zip(gains, taken, strict=True))
    sin = sum(gain * mask[2] for gain, mask in zip(gains, taken, strict=True))
    return jnp.ones_like(gains[0]), jnp.asarray(cos), jnp.asarray(sin)


class _Once:
    """A function of arrays for several threads: compiled by the first call of each shape, which is alone."""

    def __init__(self, function: Any) -> None:
        self._function, self._lock = function, threading.Lock()
        self._programs: dict[tuple, Callable] = {}

    def __call__(self, *arguments: Any) -> Any:
        # Someone looks for an error, line by line.
        if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
            return self._function(*arguments)
        key = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arguments))
        if key not in self._programs:
            with self._lock:
                if key not in self._programs:
                    program = self._function.lower(*arguments).compile()
                    # Before the buffers of the first call come on top of what compiling took.
                    cpu_compile.return_memory()
                    self._programs[key] = program
        return self._programs[key](*arguments)
