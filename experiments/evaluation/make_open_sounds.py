"""Draws the evaluation sets on held-out clips of `open_sounds`; a set stores names of clips only.

    cd experiments/evaluation
    python -m experiments.evaluation.make_open_sounds --root CLIPS --out .

The root holds the clips in any format. Candidates are the clips of `open_sounds_clips.txt`, so the sets stay
as they are when the corpus gains clips. A third of the recordings, chosen by a hash of their source, is for
development: recipes and checkpoints are chosen there. The others are the test set.
"""

import csv
import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import tyro

from audiosep_jax.errors import UsageError, listed
from audiosep_jax.evals.balanced_set_builder import make_balanced_set, paraphrased
from audiosep_jax.evals.evaluation_set import EvaluationSet, save_evaluation_set
from audiosep_jax.evals.evaluation_set_builder import Clip

CORPUS = Path(__file__).parents[2] / "data_pipelines" / "corpora" / "open_sounds"
KINDS = ("speech", "music", "animals", "nature", "machines", "impacts")
DESCRIPTION = "Held-out clips of open_sounds (`audiosep prepare open_sounds`), files are names of clips."


@dataclasses.dataclass(frozen=True, kw_only=True)
class MakeArgs:
    """Draw the evaluation sets on open_sounds."""

    root: Path
    """Folder with the clips."""
    out: Path
    """Folder for open_sounds.json, open_sounds_paraphrases.json and open_sounds_development.json."""
    table: Path = CORPUS / "clips.csv"
    """Table of the corpus: clip, label, package, members, split."""
    labels: Path = CORPUS / "open_sounds_labels.json"
    """Kind, captions, held-out captions and overlapping labels of each label."""
    candidates: Path = Path(__file__).with_name("open_sounds_clips.txt")
    """Names of held-out clips to draw from, one per line."""
    mixtures: int = 200
    """Mixtures of the test set."""
    development_mixtures: int = 100
    """Mixtures of the development set."""
    absent_share: float = 0.25
    """Further mixtures whose query names neither sound, as a share."""
    seed: int = 0
    """Seed of all draws."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Label:
    """What the corpus says about a label; see its table of labels."""

    kind: str
    captions: list[str]
    heldout_captions: list[str]
    also: list[str]


def is_development(package: str, members: str) -> bool:
    """Whether a held-out recording is for development."""
    return int(hashlib.sha256(f"{package}/{members}".encode()).hexdigest(), 16) % 3 == 0


def read_clips(table: Path, candidates: Path, labels: dict[str, Label]) -> tuple[list[Clip], list[Clip]]:
    """Returns the candidates of the six kinds for development, and those for the test.

    Raises:
      UsageError: the table lacks a candidate, or has it in another split.
    """
    names = candidates.read_text("utf-8").split()
    with table.open(encoding="utf-8", newline="") as file:
        heldout = {row["clip"]: row for row in csv.DictReader(file) if row["split"] == "heldout"}
    if missing := sorted(set(names) - set(heldout)):
        raise UsageError(f"{table} has no held-out clip {listed(missing)}: give the table of open_sounds.")
    rows = [heldout[name] for name in names if labels[heldout[name]["label"]].kind in KINDS]
    parts: tuple[list[Clip], list[Clip]] = ([], [])
    for row in rows:
        clip = Clip(file=row["clip"], label=row["label"], recording=f"{row['package']}/{row['members']}")
        parts[0 if is_development(row["package"], row["members"]) else 1].append(clip)
    return parts


def make(args: MakeArgs) -> Iterable[EvaluationSet]:
    """Draws the test set, its paraphrases and the development set.

    Raises:
      AudioSepError: the table does not allow such sets, or a clip is missing or cannot be read.
    """
    labels = {name: Label(**fields) for name, fields in json.loads(args.labels.read_text("utf-8")).items()}
    development, test = read_clips(args.table, args.candidates, labels)

    def draw(clips: list[Clip], name: str, mixtures: int) -> EvaluationSet:
        return make_balanced_set(
            clips,
            name=name,
            description=DESCRIPTION,
            root=args.root,
            captions={name: label.captions for name, label in labels.items()},
            kinds={name: label.kind for name, label in labels.items()},
            overlaps={name: label.also for name, label in labels.items()},
            mixtures=mixtures,
            absent_mixtures=round(args.absent_share * mixtures),
            most_per_label=5,
            snr_db=0.0,
            seconds=5.0,
            sample_rate_hz=32_000,
            seed=args.seed,
        )

    tested = draw(test, "open-sounds", args.mixtures)
    yield tested
    yield paraphrased(
        tested,
        {name: label.heldout_captions for name, label in labels.items()},
        name="open-sounds-paraphrases",
        description=f"{DESCRIPTION} The mixtures of open-sounds with captions that no training uses.",
        seed=args.seed,
    )
    yield draw(development, "open-sounds-development", args.development_mixtures)


def main(args: MakeArgs) -> None:
    """Writes the sets, and prints for each how many targets are of each kind."""
    for made in make(args):
        path = args.out / f"{made.name.replace('-', '_')}.json"
        save_evaluation_set(made, path)
        targets = [made.kinds[entry.target.label] for entry in made.entries if not entry.is_absent]
        print(path, ", ".join(f"{kind} {targets.count(kind)}" for kind in KINDS))


if __name__ == "__main__":
    main(tyro.cli(MakeArgs))
