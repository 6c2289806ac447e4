"""Conditions from sound or images instead of captions, computed by the encoder for the data pipeline."""

from collections.abc import Sequence
from concurrent import futures
from pathlib import Path

import numpy as np

from audiosep_jax.config import ExperimentConfig
from audiosep_jax.encoders.base import AudioQueryEncoder, ImageQueryEncoder, QueryEncoder
from audiosep_jax.encoders.frame_conditions import FrameConditions
from audiosep_jax.errors import ConfigError
from data_pipelines.mixtures.supervision import Hear, Supervision


def make_supervision(config: ExperimentConfig, encoder: QueryEncoder, *, folder: Path) -> Supervision:
    """Returns the supervision of a run's data pipeline.

    An encoder of sounds is used if the text ratio is below 1, because every clip has sound. An encoder of
    images is used for a clip with frames whose caption is not drawn or missing; `folder` caches the
    conditions of frames between processes.

    Raises:
      ConfigError: the text ratio is below 1 and the encoder only takes text.
    """
    ratio = config.query.text_ratio
    if isinstance(encoder, AudioQueryEncoder):
        hear = _segment_encoder(encoder, sample_rate_hz=config.model.sample_rate_hz) if ratio < 1 else None
        return Supervision(text_ratio=ratio, hear=hear)
    if isinstance(encoder, ImageQueryEncoder):
        return Supervision(text_ratio=ratio, see=FrameConditions(encoder, folder=folder))
    if ratio < 1:
        raise ConfigError(
            f"query.text_ratio is {ratio}, but the encoder {config.query.encoder!r} only takes text: set it "
            'to 1, or query.encoder to one that takes sound ("clap") or images ("clip").'
        )
    return Supervision()


def _segment_encoder(encoder: AudioQueryEncoder, *, sample_rate_hz: int) -> Hear:
    """Returns a function that encodes segments of sound, as one condition each, for all threads.

    The threads of the data pipeline call it at the same time, and so does the main thread if
    `data.read_threads` is 0. A single thread computes one call after the other: it is outside of the loop's
    mesh and transfer guard, which belong to the thread that set them, and needs the encoder's memory once. It
    computes on the first device of this process, so that processes need not agree on a time.
    """
    thread = futures.ThreadPoolExecutor(1, thread_name_prefix="segment encoder")

    def encode(segments: Sequence[np.ndarray]) -> np.ndarray:
        return thread.submit(encoder.encode_audio, segments, sample_rate_hz=sample_rate_hz).result()

    return encode
