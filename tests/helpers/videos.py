"""Videos that are muxed for tests."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from pipelines_sounds import tone

RATE = 16_000
SECONDS = 1.0
IMAGES_PER_SECOND = 10


def write_video(
    path: Path, *, audio: str = "aac", video: str = "mpeg4", images: bool = True, sounds: bool = True
) -> None:
    """Writes one second of a tone in two channels, the right one at half the level, and grey images that
    become brighter."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        pictures = sound = None
        if images:
            pictures = container.add_stream(video, rate=IMAGES_PER_SECOND)
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        if sounds:
            sound = container.add_stream(audio, rate=48_000 if audio == "libopus" else RATE, layout="stereo")
        if pictures:
            for number in range(round(SECONDS * IMAGES_PER_SECOND)):
                shade = np.full((48, 64, 3), 20 + 20 * number, np.uint8)
                container.mux(pictures.encode(av.VideoFrame.from_ndarray(shade, format="rgb24")))
            container.mux(pictures.encode())
        if sound:
            left = tone(3, seconds=SECONDS, rate=RATE).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(np.stack([left, left / 2]), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            resampler = av.AudioResampler(format=sound.format, layout="stereo", rate=sound.rate)
            fifo = av.AudioFifo()
            for part in (*resampler.resample(frame), *resampler.resample(None)):
                fifo.write(part)
            while part := fifo.read(sound.codec_context.frame_size or 1024, partial=True):
                container.mux(sound.encode(part))
            container.mux(sound.encode())
