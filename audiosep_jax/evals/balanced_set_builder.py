"""Draws a fixed evaluation set from many labels with few clips, balanced by kind of sound."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from audiosep_jax.errors import EvaluationError, listed
from audiosep_jax.evals.evaluation_set import Entry, EvaluationSet
from audiosep_jax.evals.evaluation_set_builder import Clip, Crops, check_captions, shuffled_forever

USES_PER_RECORDING = 2
"""How often a recording is the target of a mixture, at most; so often it interferes, too."""

_SWAPS = 10_000


def make_balanced_set(
    clips: Sequence[Clip],
    *,
    name: str,
    root: str | Path,
    captions: Mapping[str, Sequence[str]],
    kinds: Mapping[str, str],
    mixtures: int,
    absent_mixtures: int = 0,
    most_per_label: int = 5,
    overlaps: Mapping[str, Collection[str]] | None = None,
    snr_db: float = 0.0,
    seconds: float = 5.0,
    sample_rate_hz: int = 32_000,
    seed: int = 0,
    description: str = "",
) -> EvaluationSet:
    """Draws mixtures of two different labels; the same arguments and files give the same set.

    The kinds get equal numbers of targets; a kind without enough clips gets fewer, and the others more.
    Within a kind, labels take turns. A label is the target of at most `most_per_label` mixtures, and a
    recording of at most `USES_PER_RECORDING`. The interferers have the labels of the targets in another
    order, so the limits hold for them, too. `absent_mixtures` are drawn in the same way and have a query that
    names neither sound; these queries name the labels of the targets in a third order.

    Args:
      clips: labelled sounds. Of several from one recording and label, one is drawn.
      name: of the set.
      root: folder of the clips.
      captions: sentences for each label.
      kinds: the kind of each label.
      mixtures: whose query names the target.
      absent_mixtures: further mixtures, whose query names neither sound.
      most_per_label: mixtures that a label is the target of.
      overlaps: for a label, others that may sound like it. Such labels never meet in a mixture, and an absent
        query names none of them. The relation is taken as symmetric.
      snr_db: of every mixture.
      seconds: length of every mixture.
      sample_rate_hz: rate at which mixtures are rendered.
      seed: of all draws.
      description: where the clips come from.

    Raises:
      EvaluationError: a label has no caption or kind, there are too few clips, the overlaps leave no
        partners, or a label has no audible segment.
      AudioFileError: a file cannot be read.
    """
    labels = sorted({clip.label for clip in clips})
    lacking = [label for label in labels if not captions.get(label) or label not in kinds]
    if lacking:
        raise EvaluationError(
            f"evaluation set {name!r} has no caption or no kind for {listed(lacking)}: add both for each."
        )
    rng = np.random.default_rng(seed)
    clips = _one_per_recording(clips, rng)
    recordings = {label: sum(clip.label == label for clip in clips) for label in labels}
    most = {label: min(most_per_label, USES_PER_RECORDING * recordings[label]) for label in labels}
    avoided = _avoided(labels, overlaps or {})
    targets = Crops(clips, root=Path(root), seconds=seconds, rng=rng)
    interferers = Crops(clips, root=Path(root), seconds=seconds, rng=rng)
    sentences = {label: shuffled_forever(captions[label], rng) for label in labels}
    entries = []
    for absent, count in ((False, mixtures), (True, absent_mixtures)):
        own = _target_labels(labels, kinds=kinds, most=most, count=count, name=name, rng=rng)
        others = _arranged(own, [avoided[label] for label in own], name=name, rng=rng)
        unheard = [""] * count
        if absent:
            heard = [avoided[one] | avoided[other] for one, other in zip(own, others, strict=True)]
            unheard = _arranged(own, heard, name=name, rng=rng)
        for label, other, asked in zip(own, others, unheard, strict=True):
            target = targets.draw(label)
            entries.append(
                Entry(
                    target=target,
                    interferer=interferers.draw(other, beside=target),
                    caption=next(sentences[label]),
                    snr_db=snr_db,
                    absent_caption=next(sentences[asked]) if absent else "",
                )
            )
    used = {source.label for entry in entries for source in (entry.target, entry.interferer)}
    return EvaluationSet(
        name=name,
        description=description,
        sample_rate_hz=sample_rate_hz,
        seconds=seconds,
        seed=seed,
        kinds={label: kinds[label] for label in sorted(used)},
        entries=tuple(entries),
    )


def _one_per_recording(clips: Sequence[Clip], rng: np.random.Generator) -> list[Clip]:
    """Returns a clip for each recording and label: clips of one recording sound alike."""
    groups: dict[tuple[str, str], list[Clip]] = {}
    for clip in sorted(clips, key=lambda clip: (clip.label, clip.file)):
        groups.setdefault((clip.label, clip.recording or clip.file), []).append(clip)
    return [group[int(rng.integers(len(group)))] for group in groups.values()]


def _avoided(labels: Sequence[str], overlaps: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """Returns for each label those that it never meets, itself included."""
    avoided = {label: {label} for label in labels}
    for label, others in overlaps.items():
        for other in others:
            avoided.setdefault(label, {label}).add(other)
            avoided.setdefault(other, {other}).add(label)
    return avoided


def _target_labels(
    labels: Sequence[str],
    *,
    kinds: Mapping[str, str],
    most: Mapping[str, int],
    count: int,
    name: str,
    rng: np.random.Generator,
) -> list[str]:
    """Returns `count` labels, sorted: kinds equally often, and within a kind the labels in turns.

    A label has at most the number in `most`.
    """
    if sum(most.values()) < count:
        raise EvaluationError(
            f"evaluation set {name!r} shall have {count} mixtures, but its clips allow only "
            f"{sum(most.values())}: ask for fewer, or give more clips."
        )
    # A kind's labels in the order in which they are taken.
    queues: dict[str, list[str]] = {kind: [] for kind in sorted({kinds[label] for label in labels})}
    for turn in range(max(most.values())):
        for label in (labels[int(index)] for index in rng.permutation(len(labels))):
            if turn < most[label]:
                queues[kinds[label]].append(label)
    chosen: list[str] = []
    place = 0
    while len(chosen) < count:
        round_of_kinds = [queue[place] for queue in queues.values() if place < len(queue)]
        chosen += round_of_kinds[: count - len(chosen)]
        place += 1
    return sorted(chosen)


def _arranged(
    labels: Sequence[str], avoided: Sequence[Collection[str]], *, name: str, rng: np.random.Generator
) -> list[str]:
    """Returns the labels in a random order in which none is at a place that avoids it."""
    order = [labels[int(index)] for index in rng.permutation(len(labels))]
    wrong: list[int] = []
    for _ in range(_SWAPS):
        wrong = [place for place, label in enumerate(order) if label in avoided[place]]
        if not wrong:
            return order
        one, other = wrong[0], int(rng.integers(len(order)))
        # The other place may become wrong: it is then mended in its turn.
        if order[other] not in avoided[one]:
            order[one], order[other] = order[other], order[one]
    alone = sorted({labels[place] for place in wrong})
    raise EvaluationError(
        f"evaluation set {name!r} finds no partners for {listed(alone)}: give clips of labels "
        "that overlap less."
    )


def paraphrased(
    evaluation_set: EvaluationSet,
    captions: Mapping[str, Sequence[str]],
    *,
    name: str,
    description: str = "",
    seed: int = 0,
) -> EvaluationSet:
    """Returns the mixtures of a set whose query names the target, with other captions.

    Raises:
      EvaluationError: a label has no caption, or no mixture is left.
    """
    present = [entry for entry in evaluation_set.entries if not entry.is_absent]
    labels = sorted({entry.target.label for entry in present})
    check_captions(labels, captions, name=name)
    rng = np.random.default_rng(seed)
    sentences = {label: shuffled_forever(captions[label], rng) for label in labels}
    entries = tuple(
        dataclasses.replace(entry, caption=next(sentences[entry.target.label])) for entry in present
    )
    return dataclasses.replace(
        evaluation_set, name=name, description=description or evaluation_set.description, entries=entries
    )
