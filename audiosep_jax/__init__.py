"""AudioSep in JAX/Flax: a recording and a sentence in, the described sound out."""

import importlib
from typing import TYPE_CHECKING, Any

from audiosep_jax.errors import (
    AudioFileError,
    AudioSepError,
    CheckpointError,
    ConfigError,
    DatasetError,
    DeviceError,
    EncoderError,
    EvaluationError,
    ExportError,
    MissingPackageError,
    PageError,
    QueryError,
    ReportError,
    SeparationError,
    StorageError,
    SweepError,
    TrainingError,
    TransientError,
    UsageError,
    WaveformError,
)

if TYPE_CHECKING:
    from audiosep_jax.audio.reading import Recording, read_audio
    from audiosep_jax.audio.writing import write_audio
    from audiosep_jax.separation.api import AudioSep, load
    from audiosep_jax.separation.live import LiveSeparator
    from audiosep_jax.separation.presence import AbsentQueryWarning
    from audiosep_jax.separation.queries import Query
    from audiosep_jax.separation.results import Separation
    from audiosep_jax.separation.scale import ScaleWarning

__version__ = "0.1.0"
__all__ = [
    "AbsentQueryWarning",
    "AudioFileError",
    "AudioSep",
    "AudioSepError",
    "CheckpointError",
    "ConfigError",
    "DatasetError",
    "DeviceError",
    "EncoderError",
    "EvaluationError",
    "ExportError",
    "LiveSeparator",
    "MissingPackageError",
    "PageError",
    "Query",
    "QueryError",
    "Recording",
    "ReportError",
    "ScaleWarning",
    "Separation",
    "SeparationError",
    "StorageError",
    "SweepError",
    "TrainingError",
    "TransientError",
    "UsageError",
    "WaveformError",
    "__version__",
    "load",
    "read_audio",
    "write_audio",
]

_HOMES = {
    "AbsentQueryWarning": "audiosep_jax.separation.presence",
    "AudioSep": "audiosep_jax.separation.api",
    "LiveSeparator": "audiosep_jax.separation.live",
    "Query": "audiosep_jax.separation.queries",
    "Recording": "audiosep_jax.audio.reading",
    "ScaleWarning": "audiosep_jax.separation.scale",
    "Separation": "audiosep_jax.separation.results",
    "load": "audiosep_jax.separation.api",
    "read_audio": "audiosep_jax.audio.reading",
    "write_audio": "audiosep_jax.audio.writing",
}


def __getattr__(name: str) -> Any:
    # JAX takes a second to import: a program that only asks for the version does not wait for it.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
