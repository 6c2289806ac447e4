"""Examples of the page: mixtures of bundled clips that the bundled model was not trained on."""

import dataclasses
from pathlib import Path

from audiosep_jax.audio.writing import write_audio
from audiosep_jax.evals.evaluation_set import load_evaluation_set, render

CLIPS = Path(__file__).parents[1] / "assets" / "demo"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """An example: the title of its button, its sentences, and the clips to mix, the target first."""

    title: str
    query: str = ""
    without: str = ""
    clips: tuple[str, str]


EXAMPLES = (
    Example(title="A dog in the rain", query="a dog barking", clips=("dog_barking_1.ogg", "rain_1.ogg")),
    Example(
        title="A cat and a pig", query="a cat meowing", clips=("cat_meowing_1.ogg", "pig_grunting_1.ogg")
    ),
    Example(title="A rooster, but no rain", without="rain falling", clips=("rooster_1.ogg", "rain_1.ogg")),
    Example(
        title="Something that is not there",
        query="rain falling",
        clips=("rooster_1.ogg", "pig_grunting_1.ogg"),
    ),
)


def write_examples(folder: Path) -> list[Path]:
    """Mixes the examples and returns their files, in the order of `EXAMPLES`.

    Raises:
      AudioSepError: a clip is missing, or the folder cannot be written.
    """
    evaluation_set = load_evaluation_set(CLIPS / "evaluation.json")
    pairs = {(entry.target.file, entry.interferer.file): entry for entry in reversed(evaluation_set.entries)}
    paths, rate = [], evaluation_set.sample_rate_hz
    for example in EXAMPLES:
        entry = pairs[example.clips]
        mixture = render(entry, root=CLIPS, sample_rate_hz=rate, seconds=evaluation_set.seconds).mixture
        path = folder / f"{example.title.lower().replace(',', '').replace(' ', '_')}.wav"
        write_audio(path, mixture, sample_rate_hz=rate)
        paths.append(path)
    return paths
