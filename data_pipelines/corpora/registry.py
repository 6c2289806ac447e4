"""The datasets that `audiosep prepare` knows by name."""

import dataclasses
import importlib
from typing import Any

from audiosep_jax.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """A builder that is not imported yet.

    Attributes:
      target: module and class of the builder.
      layout: the files of its source folder, in one line.
      options: arguments that it takes in addition to those of `ClipBuilder`.
    """

    target: str
    layout: str
    options: tuple[str, ...] = ()


_CORPUS = ("splits", "exclude")

DATASETS = {
    "audio_folder": Dataset(
        target="data_pipelines.corpora.audio_folder:AudioFolder",
        layout="sound files and clips.csv (file, captions, optionally label, split, source, frames)",
        options=("metadata", "source_column", "validation_share"),
    ),
    "audiocaps": Dataset(
        target="data_pipelines.corpora.audiocaps:AudioCaps",
        layout="train.csv, val.csv, test.csv and ID.wav, YID.wav or ID_START.wav of YouTube",
        options=_CORPUS,
    ),
    "audioset": Dataset(
        target="data_pipelines.corpora.audioset:AudioSet",
        layout="*_segments.csv, class_labels_indices.csv and ID.wav, YID.wav or ID_START_END.wav of YouTube",
        options=_CORPUS,
    ),
    "clotho": Dataset(
        target="data_pipelines.corpora.clotho:Clotho",
        layout="clotho_captions_SPLIT.csv, clotho_metadata_SPLIT.csv and a folder SPLIT of sound files each",
        options=(*_CORPUS, "licences"),
    ),
    "esc50": Dataset(
        target="data_pipelines.corpora.esc50:Esc50",
        layout="meta/esc50.csv and audio/, or ESC-10's folders of classes; one split per fold",
        options=("metadata",),
    ),
    "fsd50k": Dataset(
        target="data_pipelines.corpora.fsd50k:FSD50K",
        layout="FSD50K.ground_truth/, FSD50K.dev_audio/, FSD50K.eval_audio/ and FSD50K.metadata/",
        options=(*_CORPUS, "licences"),
    ),
    "music": Dataset(
        target="data_pipelines.corpora.music:Music",
        layout="MUSIC_solo_videos.json, MUSIC_duet_videos.json and ID.mp4, ID.webm, … of YouTube",
        options=(*_CORPUS, "frames"),
    ),
    "vggsound": Dataset(
        target="data_pipelines.corpora.vggsound:VGGSound",
        layout="vggsound.csv and ID_000030.mp4, ID_30.wav or ID_30_40.wav of YouTube",
        options=_CORPUS,
    ),
    "voicebank_demand": Dataset(
        target="data_pipelines.corpora.voicebank_demand:VoiceBankDemand",
        layout="clean_trainset_28spk_wav/, clean_testset_wav/, the noisy_*_wav/ of both and log_*.txt",
        options=(*_CORPUS, "noise"),
    ),
    "wavcaps": Dataset(
        target="data_pipelines.corpora.wavcaps:WavCaps",
        layout="json_files/COLLECTION/*_final.json and a folder of COLLECTION's ID.flac each",
        options=_CORPUS,
    ),
}

OPTIONS = tuple(dict.fromkeys(option for dataset in DATASETS.values() for option in dataset.options))
"""All arguments that only some builders take."""


def builder_class(name: str) -> type:
    """Imports the builder of a dataset."""
    module, _, cls = DATASETS[name].target.partition(":")
    return getattr(importlib.import_module(module), cls)


def check_options(name: str, options: dict[str, Any]) -> None:
    """Checks that a dataset's builder takes some arguments.

    Args:
      name: of the dataset.
      options: arguments, of `OPTIONS`.

    Raises:
      UsageError: an argument belongs to other datasets.
    """
    for option in options:
        if option not in DATASETS[name].options:
            owners = [other for other, dataset in DATASETS.items() if option in dataset.options]
            flag = "--" + option.replace("_", "-")
            raise UsageError(
                f"{flag} belongs to {', '.join(owners)} and means nothing for {name}: leave it out."
            )


def described() -> str:
    """Returns a line per dataset, for a help text."""
    width = max(map(len, DATASETS))
    return "\n".join(f"  {name:<{width}}  {dataset.layout}" for name, dataset in DATASETS.items())
