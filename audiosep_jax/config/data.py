"""Config of the data: datasets, and how clips become mixtures."""

import dataclasses
from typing import Literal

from audiosep_jax.config.checks import at_least
from audiosep_jax.errors import ConfigError

CollisionRule = Literal["caption", "label", "similarity", "ontology"]
"""What two clips of a mixture must not share; `docs/mixtures.md` defines each rule."""

Interferers = Literal["drawn", "neighbours"]
"""Source of the other clips of a mixture."""


MAX_RATIO_DB = 120
"""Above this ratio the quieter of two sounds is lost in the rounding of float32."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureConfig:
    """How clips become mixtures. The reference's own recipe is `config.recipes.reference()`.

    Attributes:
      sources: most clips per mixture, target included; the size of the arrays.
      fewest_sources: fewest clips per mixture; the number is drawn uniformly from this to `sources`. 0 always
        mixes `sources` clips.
      gain_range_db: lowest and highest integer gain of an interferer, and of the sum of interferers, relative
        to the target's energy. The draw includes both ends.
      snr_range_db: lowest and highest energy of the target over that of the sum of interferers, drawn
        uniformly; gains are then only relative between interferers. Empty: the sum has its gain.
      segment_seconds: length of a crop.
      absent_probability: share of mixtures whose caption describes none of their sources; their target is
        silence.
      level_range_db: lowest and highest gain of the finished mixture and target, drawn uniformly; (0, 0)
        keeps the level.
      collisions: clips that are never mixed: those that share a caption or a label, that have similar
        captions, or a class and its ancestor in the ontology. Empty: any two different clips may be mixed.
      similarity: two captions are the same for the rule "similarity" if the cosine of their conditions is
        above this.
      ontology: path of AudioSet's ontology.json, which the rule "ontology" and `specific_labels` need.
      specific_labels: remove a clip's labels that are ancestors of its other labels.
      interferers: "drawn" draws them for each mixture, by `data.weights`; "neighbours" takes the targets of
        the next positions of the batch with their crops, as the reference does.
    """

    sources: int = 2
    fewest_sources: int = 0
    gain_range_db: tuple[int, int] = (-10, 10)
    snr_range_db: tuple[float, ...] = ()
    segment_seconds: float = 5.0
    absent_probability: float = 0.0
    level_range_db: tuple[float, float] = (0.0, 0.0)
    collisions: tuple[CollisionRule, ...] = ("caption", "label")
    similarity: float = 0.9
    ontology: str = ""
    specific_labels: bool = False
    interferers: Interferers = "drawn"

    def __post_init__(self) -> None:
        at_least(self, "mixture", 2, "sources")
        if self.fewest_sources and not 2 <= self.fewest_sources <= self.sources:
            raise ConfigError(
                f"mixture.fewest_sources is {self.fewest_sources}: give a number from 2 to mixture.sources "
                f"({self.sources}), or 0 to always mix that number."
            )
        if not 0 < self.segment_seconds < float("inf"):
            raise ConfigError(
                f"mixture.segment_seconds is {self.segment_seconds}: give a positive number of seconds."
            )
        if len(self.snr_range_db) not in (0, 2):
            raise ConfigError(
                f"mixture.snr_range_db is {self.snr_range_db}: give the lowest and the highest, or nothing."
            )
        for name in ("gain_range_db", "snr_range_db", "level_range_db"):
            low, high = getattr(self, name) or (0, 0)
            if not low <= high:
                raise ConfigError(f"mixture.{name} is ({low}, {high}): the first must not exceed the second.")
            if max(abs(low), abs(high)) > MAX_RATIO_DB:
                raise ConfigError(
                    f"mixture.{name} is ({low}, {high}): give ratios from -{MAX_RATIO_DB} to "
                    f"{MAX_RATIO_DB} dB."
                )
        if not 0 <= self.absent_probability < 1:
            raise ConfigError(
                f"mixture.absent_probability is {self.absent_probability}: give a share in [0, 1)."
            )
        self._check_collisions()

    def _check_collisions(self) -> None:
        if len(set(self.collisions)) != len(self.collisions):
            raise ConfigError(f"mixture.collisions is {self.collisions}: name each rule once.")
        if self.absent_probability and "caption" not in self.collisions:
            raise ConfigError(
                f'mixture.absent_probability is {self.absent_probability}, but without the rule "caption" a '
                'query may describe a source: add "caption" to mixture.collisions.'
            )
        if not 0 <= self.similarity < 1:
            raise ConfigError(
                f"mixture.similarity is {self.similarity}: give a cosine from 0 to below 1, or remove "
                '"similarity" from mixture.collisions.'
            )
        user = "mixture.specific_labels" if self.specific_labels else ""
        if "ontology" in self.collisions:
            user = '"ontology" in mixture.collisions'
        if user and not self.ontology:
            raise ConfigError(f"{user} needs mixture.ontology: give the path of AudioSet's ontology.json.")
        if self.ontology and not user:
            raise ConfigError(
                f'mixture.ontology is {self.ontology!r}, but no option uses it: add "ontology" to '
                "mixture.collisions, or set mixture.specific_labels."
            )
        if self.specific_labels and not {"label", "ontology"} & set(self.collisions):
            raise ConfigError(
                'mixture.specific_labels changes nothing: add "label" or "ontology" to mixture.collisions.'
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Prepared datasets and how they are read.

    Attributes:
      datasets: folders that `audiosep prepare` wrote, each "PATH" or "PATH:SPLIT+SPLIT".
      validation: the same, for the clips held out for validation; empty switches validation off.
      weights: relative share of examples per dataset; empty is by number of clips.
      label_balance: a label of n clips is drawn in proportion to n to the power of 1 - label_balance: with 0
        all clips of a dataset come equally often, with 1 all labels. Above 0 targets are drawn independently,
        so a clip may come twice before another comes once.
      seed: of all draws, together with step and position.
      read_threads: threads that decode crops; 0 decodes in the main thread.
      prefetch: batches prepared ahead; each thread holds at least one.
    """

    datasets: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    label_balance: float = 0.0
    seed: int = 0
    read_threads: int = 4
    prefetch: int = 4

    def __post_init__(self) -> None:
        at_least(self, "data", 0, "seed", "read_threads")
        at_least(self, "data", 1, "prefetch")
        if any(not 0 < weight < float("inf") for weight in self.weights):
            raise ConfigError(f"data.weights is {self.weights}: every weight must be a positive number.")
        if not 0 <= self.label_balance <= 1:
            raise ConfigError(f"data.label_balance is {self.label_balance}: give a number in [0, 1].")
