"""Converts PyTorch weights to a checkpoint or tower folder."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from audiosep_jax.checkpoints import finite, folder, pytorch_names, pytorch_shape, tower_folder
from audiosep_jax.checkpoints.source import (
    LAION_MODEL_TYPE,
    CheckpointFolder,
    Tensors,
    TowerFolder,
    open_source,
)
from audiosep_jax.checkpoints.targets import new_folder
from audiosep_jax.config import ExperimentConfig, MixtureConfig, ModelConfig, QueryConfig
from audiosep_jax.encoders.clap import constants
from audiosep_jax.errors import CheckpointError, listed
from audiosep_jax.utils import safetensors_file

Kind = Literal["auto", "audiosep", "tower"]


def convert(
    source: str | Path,
    target: str | Path,
    *,
    preset: str | None = None,
    tokenizer: str = tower_folder.ROBERTA,
    tower_source: str | Path | None = None,
    kind: Kind = "auto",
    overwrite: bool = False,
) -> list[str]:
    """Converts an AudioSep to a checkpoint folder, or a query tower to a tower folder.

    Nothing is written unless everything fits. The weights are streamed from the source to the target, so that
    memory never holds all of them.

    The source is the released `.ckpt`, its safetensors form, a LAION `.pt`, a transformers folder or id. The
    preset ("base", "paper" or "dcase") sets sample rate and hop if the STFT window leaves a choice. The
    tokenizer (a folder or a Hugging Face id) is for a tower without one; the default fits CLAPs only.
    `tower_source` is a CLAP, CLIP or sentence encoder for a separator without a tower. The kinds "audiosep"
    and "tower" refuse a source of the other kind.

    Returns:
      Lines that describe the source and the new folder.

    Raises:
      CheckpointError: the source is none of these or of another kind, tensors are missing, unknown or
        mis-shaped, or the tokenizer cannot be found.
      StorageError: the target cannot be written.
    """
    opened = open_source(source)
    if isinstance(opened, CheckpointFolder):
        raise CheckpointError(f"{source} is already a checkpoint folder: it needs no conversion.")
    is_tower = isinstance(opened, TowerFolder) or not opened.separator
    if kind == "audiosep" and is_tower:
        raise CheckpointError(
            f"{source} is {tower_folder.described(opened)}, not AudioSep: it turns queries into conditions "
            "and holds no separator; convert it with --kind tower."
        )
    if kind == "tower" and not is_tower:
        raise CheckpointError(f"{source} is AudioSep, not a tower: convert it with --kind audiosep.")
    if is_tower and tower_source is not None:
        raise CheckpointError(f"{source} is a tower: --tower is for a separator without one; remove it.")
    if is_tower:
        return _convert_tower(opened, Path(target), tokenizer=tokenizer, overwrite=overwrite)
    assert isinstance(opened, Tensors)
    return _convert_separator(
        opened,
        Path(target),
        preset=preset,
        tokenizer=tokenizer,
        tower_source=tower_source,
        overwrite=overwrite,
    )


def _convert_tower(
    source: Tensors | TowerFolder, target: Path, *, tokenizer: str, overwrite: bool
) -> list[str]:
    place = _Tower(source, tokenizer)
    place.check()
    with new_folder(target, overwrite=overwrite, sources=(source.path, tokenizer)) as staging:
        staging.rmdir()
        place.write(staging)
    return [
        f"{source.path} is {tower_folder.described(source)}: {_counted(place.tensors)}.",
        f"{target} is a tower folder; name it in query.source, with {place.encoder!r} as query.encoder.",
    ]


def _convert_separator(
    source: Tensors,
    target: Path,
    *,
    preset: str | None,
    tokenizer: str,
    tower_source: str | Path | None,
    overwrite: bool,
) -> list[str]:
    config = pytorch_shape.model_config(source.separator, preset=preset, where=str(source.path))
    problems = pytorch_names.problems(config, source.separator) + finite.problems(source.separator)
    place = None
    if source.tower:
        if tower_source is not None:
            raise CheckpointError(f"{source.path} has its own tower: remove --tower.")
        place = _Tower(source, tokenizer)
        problems += place.problems()
    problems += [f"{name} is unknown" for name in source.unknown]
    if problems:
        raise CheckpointError(f"{source.path} does not fit AudioSep: {listed(problems, separator='; ')}.")
    if tower_source is not None:
        place = _Tower(_opened_tower(tower_source), tokenizer)
        place.check()
    if place is not None:
        place.find_tokenizer()
    query = (
        QueryConfig(encoder=place.encoder, source=folder.TOWER_FOLDER)
        if place
        else QueryConfig(encoder="none")
    )
    experiment = ExperimentConfig(
        name=f"audiosep-{source.path.stem}",
        model=config,
        query=query,
        mixture=MixtureConfig(segment_seconds=10.0 if config.sample_rate_hz == 16_000 else 5.0),
    )
    carried = {name: value for name, value in source.separator.items() if pytorch_names.is_carried(name)}
    dtypes = {name: value.dtype.name for name, value in source.separator.items() if value.dtype != np.float32}
    metadata = {"format": "pt", "state_dict": json.dumps(source.order), "dtypes": json.dumps(dtypes)}
    sources = (source.path, tower_source, tokenizer)
    with new_folder(target, overwrite=overwrite, sources=sources) as staging:
        folder.save(staging, experiment, pytorch_names.from_pytorch(config, source.separator))
        safetensors_file.write(staging / folder.CARRIED_FILE, carried, metadata=metadata)
        if place is not None:
            place.write(staging / folder.TOWER_FOLDER, condition_size=config.condition_size)
    found = [
        f"{source.path} is AudioSep, {source.form}.",
        f"separator: {_counted(source.separator)}; {_shape(config)}.",
    ]
    if _odd_kernels(config, carried):
        found.append(
            "its STFT kernels differ from the Hann-windowed DFT that this model computes; they are kept."
        )
    written = [f"{target} is a checkpoint folder."]
    if place is None:
        written.append(
            'The file holds no tower: give conditions as vectors (query.encoder is "none"), or add a tower '
            "with --tower."
        )
    else:
        found.append(f"tower: {tower_folder.described(place.source)}, {_counted(place.tensors)}.")
        written.append(f"Queries are encoded by the tower in {target / folder.TOWER_FOLDER}.")
    return found + written


class _Tower:
    """A tower that will be written, of any kind."""

    def __init__(self, source: Tensors | TowerFolder, tokenizer: str) -> None:
        self.source = source
        self.encoder = "clap" if isinstance(source, Tensors) else source.encoder
        if isinstance(source, Tensors):
            self.tensors = source.tower
        else:
            self.tensors = tower_folder.laion_tensors(source.path) or source.tensors
        self._tokenizer = tokenizer

    @property
    def _is_laion(self) -> bool:
        return isinstance(self.source, Tensors) or self.source.model_type == LAION_MODEL_TYPE

    def problems(self) -> list[str]:
        """Returns phrases for what is wrong; loading checks the shapes of transformers' tensors."""
        if self._is_laion:
            return tower_folder.laion_problems(self.tensors, where=str(self.source.path))
        return finite.problems(self.tensors)

    def check(self) -> None:
        problems = self.problems()
        if isinstance(self.source, Tensors):
            problems += [f"{name} is unknown" for name in self.source.unknown]
        if problems:
            what = "CLAP" if self._is_laion else "a query tower"
            raise CheckpointError(
                f"{self.source.path} does not fit {what}: {listed(problems, separator='; ')}."
            )
        self.find_tokenizer()

    def find_tokenizer(self) -> Path:
        """Returns the tokenizer's folder: the tower's own, or the one that the user named."""
        if isinstance(self.source, TowerFolder) and tower_folder.tokenizer_files(self.source.path):
            return self.source.path
        # A CLAP's text tower is a RoBERTa; RoBERTa's tokens are wrong for other towers.
        if self.encoder != "clap" and self._tokenizer == tower_folder.ROBERTA:
            raise CheckpointError(
                f"{self.source.path} holds no tokenizer (tokenizer.json, vocab.json with merges.txt, or "
                f"vocab.txt): name the tokenizer of {tower_folder.described(self.source)} with --tokenizer, "
                "a folder or a Hugging Face id."
            )
        return tower_folder.find_tokenizer(self._tokenizer)

    def write(self, target: Path, *, condition_size: int | None = None) -> None:
        """Writes the folder; `condition_size` is the length that the separator needs."""
        tokenizer = self.find_tokenizer()
        if isinstance(self.source, TowerFolder) and not self._is_laion:
            size = tower_folder.write_folder(target, self.source, tokenizer_folder=tokenizer)
        else:
            size = tower_folder.write_laion(target, self.tensors, tokenizer_folder=tokenizer)
        if condition_size not in (None, size):
            raise CheckpointError(
                f"{self.source.path} gives conditions of size {size}, but the separator needs size "
                f"{condition_size}: name the tower that the separator was trained with in --tower."
            )


def _opened_tower(source: str | Path) -> Tensors | TowerFolder:
    opened = open_source(source)
    if isinstance(opened, CheckpointFolder) and (opened.path / folder.TOWER_FOLDER).is_dir():
        opened = open_source(opened.path / folder.TOWER_FOLDER)
    if isinstance(opened, CheckpointFolder) or (isinstance(opened, Tensors) and opened.separator):
        raise CheckpointError(f"--tower {source} is an AudioSep: give a CLAP, a CLIP or a sentence encoder.")
    return opened


def _counted(tensors: Mapping[str, np.ndarray]) -> str:
    numbers = sum(math.prod(tensor.shape) for tensor in tensors.values())
    return f"{len(tensors)} tensors with {numbers:,} numbers"


def _shape(config: ModelConfig) -> str:
    return (
        f"{config.sample_rate_hz} Hz, STFT window {config.window_length}, hop {config.hop_length}, "
        f"widths {' '.join(map(str, config.encoder_widths))}, condition {config.condition_size}"
    )


def _odd_kernels(config: ModelConfig, carried: Mapping[str, np.ndarray]) -> bool:
    """Whether the file's STFT differs from ours; no later step would tell the user."""
    names = ("base.stft.conv_real.weight", "base.stft.conv_imag.weight")
    return any(
        name in carried
        and (carried[name].shape != kernel.shape or not np.allclose(carried[name], kernel, rtol=0, atol=1e-3))
        for name, kernel in zip(names, constants.stft_kernels(config.window_length), strict=True)
    )
