"""Config of the training: optimizer, mesh of devices, execution of a step, and loop."""

import dataclasses
from typing import Literal

from audiosep_jax.config.checks import at_least
from audiosep_jax.errors import ConfigError

OptimizerKind = Literal["adam", "adamw", "adamw_amsgrad", "muon"]
LossKind = Literal["l1", "snr"]
ComputeKind = Literal["float32", "bfloat16"]
RematPolicy = Literal["none", "activations", "blocks"]
NonFinitePolicy = Literal["stop", "skip"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optax optimizer and schedule.

    Attributes:
      kind: "adamw_amsgrad" follows PyTorch's AMSGrad exactly (maximum of the raw second moment). "muon"
        orthogonalizes the updates of the matrices and convolutions (Jordan et al. 2024), scaled so that the
        rates of Adam fit; all other parameters, and the first and last layer, get Adam's.
      learning_rate: the full rate.
      warmup_steps, warmup_factors: the rate is `factors[i] · learning_rate` for `warmup_steps` steps
        each, then `learning_rate` (the reference's constant-warm-up schedule).
      decay_steps: steps of a final cosine decay to zero at the last step; 0 for none. The schedule counts
        updates, so every skipped step (train.on_non_finite) leaves it one step short of its end.
    """

    kind: OptimizerKind = "adamw_amsgrad"
    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    warmup_steps: int = 10_000
    warmup_factors: tuple[float, ...] = (0.001, 0.01, 0.1)
    decay_steps: int = 0

    def __post_init__(self) -> None:
        at_least(self, "optimizer", 0, "weight_decay", "warmup_steps", "decay_steps")
        for name in ("learning_rate", "epsilon"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"optimizer.{name} is {getattr(self, name)}: give a positive number.")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"optimizer.{name} is {getattr(self, name)}: give a number in [0, 1).")
        if self.kind == "adam" and self.weight_decay:
            raise ConfigError('optimizer.weight_decay has no meaning for "adam": choose kind "adamw".')


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """The mesh of the devices of all processes. The batch is split over all of them.

    Attributes:
      replica: copies of the other two axes, such as slices with a slow network between them; -1 is the
        number that the other axes leave.
      data: devices with the same parameters and different examples; -1 as above.
      fsdp: devices over which parameters and the optimizer's state are split; -1 as above.
    """

    replica: int = 1
    data: int = -1
    fsdp: int = 1

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("replica", "data", "fsdp")}
        for name, size in sizes.items():
            if size != -1 and size < 1:
                raise ConfigError(f"mesh.{name} is {size}: give a positive number of devices, or -1.")
        if list(sizes.values()).count(-1) > 1:
            raise ConfigError(
                f"mesh.{' and mesh.'.join(name for name in sizes if sizes[name] == -1)} are -1: only one "
                "axis can take what the others leave."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """How a train step is computed. Parameters and checkpoints stay the same, results up to rounding.

    Attributes:
      compute: type of activations and convolutions. Parameters, statistics, STFT and loss are always float32.
      remat: values that the backward pass recomputes instead of keeping them: "none"; "activations" between a
        normalization and its convolution; "blocks", everything but the input of every residual block.
      lanes: neighbouring frequency bins are packed into channels until a layer has this many channels,
        because a TPU computes and stores 128 at a time; 0 packs none, -1 is 128 on a TPU and 0 elsewhere.
      microbatches: equal parts of a batch that are computed one after the other before the update. Every part
        is normalized by its own statistics, and updates the running ones.
    """

    compute: ComputeKind = "float32"
    remat: RematPolicy = "none"
    lanes: int = -1
    microbatches: int = 1

    def __post_init__(self) -> None:
        at_least(self, "execution", -1, "lanes")
        at_least(self, "execution", 1, "microbatches")

    def on(self, platform: str) -> "ExecutionConfig":
        """Returns a copy with the `lanes` of a platform, such as "tpu" (JAX's name)."""
        if self.lanes >= 0:
            return self
        return dataclasses.replace(self, lanes=128 if platform == "tpu" else 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The loop.

    Attributes:
      steps: total optimizer steps.
      batch_size: global batch, over all devices and hosts.
      loss: "l1" is the mean absolute error of the waveform (the reference); "snr" is the mean energy of
        the error relative to the mixture, in dB, softly limited at -30 dB.
      silence_floor_db: the soft limit of "snr" for examples whose target is silence.
      seed: of the parameters' initial values.
      log_every, save_every, evaluate_every: in steps; `evaluate_every=0` only evaluates at the end.
      save_minutes: also save when this time has passed since the last save; 0 only saves by step.
      keep_checkpoints: number of recent checkpoints to keep.
      keep_every: also keep the checkpoints of all multiples of this step; 0 only keeps recent ones.
      validation_mixtures: number of fixed mixtures at 0 dB of validation clips, for SDRi.
      audio_examples: number of them that are written to TensorBoard as sound and spectrogram.
      init_from: a checkpoint folder to start from, or "".
      ema_decay: share of the old value in the exponential moving average of the parameters; the average is
        validated and written as the model. 0 keeps no average.
      on_non_finite: if loss or gradient is not finite, "stop" the run, or "skip" the step, which then changes
        nothing.
      spike_deviations: a loss this many standard deviations above its recent mean is recorded with its batch
        in `spikes.jsonl`; 0 records none.
      profile_steps: first and last step of a JAX profile; (0, 0) profiles none.
    """

    steps: int = 1_000_000
    batch_size: int = 96
    loss: LossKind = "l1"
    silence_floor_db: float = -30.0
    seed: int = 0
    log_every: int = 50
    save_every: int = 1_000
    evaluate_every: int = 5_000
    keep_checkpoints: int = 2
    validation_mixtures: int = 64
    audio_examples: int = 2
    init_from: str = ""
    save_minutes: float = 0.0
    keep_every: int = 0
    ema_decay: float = 0.0
    on_non_finite: NonFinitePolicy = "stop"
    spike_deviations: float = 6.0
    profile_steps: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        at_least(self, "train", 1, "steps", "batch_size", "log_every", "save_every", "keep_checkpoints")
        at_least(self, "train", 1, "validation_mixtures")
        at_least(self, "train", 0, "evaluate_every", "audio_examples", "seed", "save_minutes", "keep_every")
        at_least(self, "train", 0, "spike_deviations")
        if not -60 <= self.silence_floor_db < 0:
            raise ConfigError(
                f"train.silence_floor_db is {self.silence_floor_db}: give a level from -60 to below 0 dB."
            )
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"train.ema_decay is {self.ema_decay}: give a number in [0, 1).")
        first, last = self.profile_steps
        if not 0 <= first <= last:
            raise ConfigError(
                f"train.profile_steps is ({first}, {last}): give the first and the last step, in order."
            )
