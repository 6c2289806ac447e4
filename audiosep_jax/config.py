"""Frozen dataclasses that hold the whole of an experiment."""

import dataclasses
from typing import Any, Literal

from audiosep_jax.errors import AudioSepError

FilmKind = Literal["shift", "scale_shift"]
OptimizerKind = Literal["adam", "adamw", "adamw_amsgrad"]
LossKind = Literal["l1", "snr"]


def _at_least(config: Any, part: str, least: int, *names: str) -> None:
    for name in names:
        if not getattr(config, name) >= least:
            raise AudioSepError(f"{part}.{name} is {getattr(config, name)}: it must be at least {least}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A ResUNet30 separator. The defaults are the released AudioSep checkpoint.

    Attributes:
      sample_rate_hz: rate of the waveforms that the model reads and returns.
      window_length: STFT window and FFT length in samples; the model sees `window_length // 2` bins.
      hop_length: STFT hop in samples.
      encoder_widths: channels of the encoder blocks; every block but the last halves time, each
        halves frequency.
      bottleneck_blocks: residual blocks between encoder and decoder.
      film: "shift" adds a projection of the condition after each BatchNorm (the released model);
        "scale_shift" also multiplies by one plus a second projection.
      condition_size: length of the condition vector.
      magnitude_power: exponent on the magnitude before `bn0`. 1 is the reference; a power below 1
        compresses the dynamic range, which small models learn faster from.
      unused_tensors: declare the 24 tensors that the released model holds and never uses (`bn2` and
        `beta2` of the decoders), so that a checkpoint survives the way in and out; they get no gradient.
    """

    sample_rate_hz: int = 32_000
    window_length: int = 2048
    hop_length: int = 320
    encoder_widths: tuple[int, ...] = (32, 64, 128, 256, 384, 384)
    bottleneck_blocks: int = 1
    film: FilmKind = "shift"
    condition_size: int = 512
    magnitude_power: float = 1.0
    unused_tensors: bool = True

    def __post_init__(self) -> None:
        if len(self.encoder_widths) < 2 or min(self.encoder_widths) < 1:
            raise AudioSepError(
                f"model.encoder_widths is {self.encoder_widths}: give two or more positive widths."
            )
        bins, factor = self.window_length // 2, 2 ** len(self.encoder_widths)
        if self.window_length % 2 or bins % factor:
            raise AudioSepError(
                f"model.window_length is {self.window_length}: half of it must be a multiple of {factor}, "
                f"because {len(self.encoder_widths)} encoder blocks halve the frequency axis."
            )
        if not 0 < self.hop_length <= self.window_length // 2:
            raise AudioSepError(
                f"model.hop_length is {self.hop_length}: it must lie between 1 and half the window "
                f"({self.window_length // 2}), so that the windows overlap enough to be inverted."
            )
        _at_least(self, "model", 1, "sample_rate_hz", "bottleneck_blocks", "condition_size")
        if not 0 < self.magnitude_power <= 1:
            raise AudioSepError(f"model.magnitude_power is {self.magnitude_power}: give a number in (0, 1].")

    @property
    def time_multiple(self) -> int:
        """STFT frames are padded to a multiple of this: 32 with six encoder blocks."""
        return 2 ** (len(self.encoder_widths) - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueryConfig:
    """Which frozen tower turns a query into a condition.

    Attributes:
      encoder: registered name of the tower: "sentence" is all-MiniLM-L6-v2, "none" means that
        conditions are given as vectors.
      source: a folder, a Hugging Face id, or "" for the tower's default weights.
      text_ratio: share of the training examples whose condition comes from their caption. The rest take it
        from the target itself: from its sound where the tower hears ("clap"), from its frames where it sees
        ("clip"). An example that has only one of the two always uses that one.
    """

    encoder: str = "none"
    source: str = ""
    text_ratio: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.text_ratio <= 1:
            raise AudioSepError(f"query.text_ratio is {self.text_ratio}: give a share in [0, 1].")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """How clips become mixtures. The defaults are the reference's recipe.

    Attributes:
      sources: clips per mixture, target included.
      gain_range_db: lowest and highest integer gain of an interferer, and of the sum of interferers, relative
        to the target's energy. The draw includes both ends.
      segment_seconds: length of a crop.
      absent_probability: share of mixtures whose caption names none of their sources; their
        target is silence.
      level_range_db: lowest and highest gain of the finished mixture and target, drawn uniformly; (0, 0)
        leaves the level alone.
    """

    sources: int = 2
    gain_range_db: tuple[int, int] = (-10, 10)
    segment_seconds: float = 5.0
    absent_probability: float = 0.0
    level_range_db: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        _at_least(self, "mixture", 2, "sources")
        if not 0 < self.segment_seconds < float("inf"):
            raise AudioSepError(
                f"mixture.segment_seconds is {self.segment_seconds}: give a positive number of seconds."
            )
        for name in ("gain_range_db", "level_range_db"):
            low, high = getattr(self, name)
            if low > high:
                raise AudioSepError(
                    f"mixture.{name} is ({low}, {high}): the first must not exceed the second."
                )
        if not 0 <= self.absent_probability < 1:
            raise AudioSepError(
                f"mixture.absent_probability is {self.absent_probability}: give a share in [0, 1)."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Prepared datasets and how they are read.

    Attributes:
      datasets: folders that `audiosep prepare` wrote, each "PATH" or "PATH:SPLIT+SPLIT".
      validation: the same, for the clips held out for validation; empty switches validation off.
      weights: relative share of examples per dataset; empty means by number of clips.
      seed: with step and position it decides every draw.
      read_threads: threads that decode crops; 0 decodes in the main thread.
      prefetch: batches prepared ahead; each thread holds at least one.
    """

    datasets: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    seed: int = 0
    read_threads: int = 4
    prefetch: int = 4

    def __post_init__(self) -> None:
        _at_least(self, "data", 0, "seed", "read_threads")
        _at_least(self, "data", 1, "prefetch")
        if any(not weight > 0 for weight in self.weights):
            raise AudioSepError(f"data.weights is {self.weights}: every weight must be a positive number.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Optax optimizer and schedule.

    Attributes:
      kind: "adamw_amsgrad" follows PyTorch's AMSGrad exactly (maximum of the raw second moment).
      learning_rate: the rate that the schedule's factors multiply.
      warmup_steps, warmup_factors: the rate is `factors[i] · learning_rate` for `warmup_steps` steps
        each, then `learning_rate` (the reference's constant-warm-up schedule).
      decay_steps: steps of a final cosine decay to zero that ends at the last step; 0 for none.
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
        _at_least(self, "optimizer", 0, "weight_decay", "warmup_steps", "decay_steps")
        for name in ("learning_rate", "epsilon"):
            if not 0 < getattr(self, name) < float("inf"):
                raise AudioSepError(f"optimizer.{name} is {getattr(self, name)}: give a positive number.")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise AudioSepError(f"optimizer.{name} is {getattr(self, name)}: give a number in [0, 1).")
        if self.kind == "adam" and self.weight_decay:
            raise AudioSepError('optimizer.weight_decay has no meaning for "adam": choose kind "adamw".')


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The loop.

    Attributes:
      steps: total optimizer steps.
      batch_size: global batch, over all devices and hosts.
      loss: "l1" is the mean absolute error of the waveform (the reference); "snr" is the mean energy of
        the error relative to the mixture, in dB, softly limited at -30 dB.
      seed: of the parameters' initial values.
      log_every, save_every, evaluate_every: in steps; `evaluate_every=0` evaluates at the end only.
      keep_checkpoints: how many recent checkpoints stay.
      validation_mixtures: fixed mixtures at 0 dB from the validation clips that measure SDRi.
      audio_examples: how many of them are written to TensorBoard as sound and spectrogram.
      init_from: a checkpoint folder to start from, or "".
    """

    steps: int = 1_000_000
    batch_size: int = 96
    loss: LossKind = "l1"
    seed: int = 0
    log_every: int = 50
    save_every: int = 1_000
    evaluate_every: int = 5_000
    keep_checkpoints: int = 2
    validation_mixtures: int = 64
    audio_examples: int = 2
    init_from: str = ""

    def __post_init__(self) -> None:
        _at_least(self, "train", 1, "steps", "batch_size", "log_every", "save_every", "keep_checkpoints")
        _at_least(self, "train", 1, "validation_mixtures")
        _at_least(self, "train", 0, "evaluate_every", "audio_examples", "seed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """The whole of an experiment."""

    name: str = "experiment"
    model: ModelConfig = ModelConfig()
    query: QueryConfig = QueryConfig()
    mixture: MixtureConfig = MixtureConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
