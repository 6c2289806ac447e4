"""What a run takes its conditions from besides captions: the tower's ear or eye, wired to the pipeline."""

from collections.abc import Sequence
from concurrent import futures
from pathlib import Path

import numpy as np

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.encoders.base import AudioQueryEncoder, ImageQueryEncoder, QueryEncoder
from audiosep_jax.encoders.frame_conditions import FrameConditions
from audiosep_jax.errors import ConfigError
from data_pipelines.mixtures.supervision import Supervision


def make_supervision(config: ExperimentConfig, encoder: QueryEncoder, *, folder: Path) -> Supervision:
    """Returns what the data pipeline of a run calls.

    A tower that hears is used from a text ratio below 1 on, because every clip has sound. One that sees is
    used wherever a clip has frames and its caption is not drawn or not there.

    Args:
      config: of the run.
      encoder: its tower.
      folder: keeps the conditions of frames between processes.

    Raises:
      AudioSepError: the text ratio is below 1 and the tower takes nothing but text.
    """
    ratio = config.query.text_ratio
    if isinstance(encoder, AudioQueryEncoder):
        hear = Hearing(encoder, sample_rate_hz=config.model.sample_rate_hz) if ratio < 1 else None
        return Supervision(text_ratio=ratio, hear=hear)
    if isinstance(encoder, ImageQueryEncoder):
        return Supervision(text_ratio=ratio, see=FrameConditions(encoder, folder=folder))
    if ratio < 1:
        raise ConfigError(
            f"query.text_ratio is {ratio}, but the tower {config.query.encoder!r} takes text alone: set it "
            'to 1, or query.encoder to one that hears ("clap") or sees ("clip").'
        )
    return Supervision()


class Hearing:
    """Encodes segments, whichever thread asks.

    The threads of the data pipeline ask at the same time, and the main thread asks itself where
    `data.read_threads` is 0. One thread of its own answers them all, one after the other: it stands outside
    of the loop's mesh and transfer guard, which belong to the thread that set them, and the tower's memory is
    needed once. It computes on this process's first device, so that processes need not agree on when.

    Args:
      encoder: the tower.
      sample_rate_hz: rate of the segments.
    """

    def __init__(self, encoder: AudioQueryEncoder, *, sample_rate_hz: int) -> None:
        self._encoder = encoder
        self._sample_rate_hz = sample_rate_hz
        self._thread = futures.ThreadPoolExecutor(1, thread_name_prefix="hearing")

    def __call__(self, segments: Sequence[np.ndarray]) -> np.ndarray:
        """Returns one condition per segment, float32 `[n, size]`."""
        encode = self._encoder.encode_audio
        return self._thread.submit(encode, segments, sample_rate_hz=self._sample_rate_hz).result()
