"""WAV and raw samples as bytes: every encoding, streamed headers, truncated and invalid input."""

import io
import struct
import typing

import numpy as np
import pytest
import soundfile
from separation_models import scene

from audiosep_jax.audio.pcm import Encoding, SampleFormat
from audiosep_jax.audio.wav_pipe import PipeReader, PipeWriter, wav_header
from audiosep_jax.errors import AudioSepError

ENCODINGS = typing.get_args(Encoding)
SUBTYPES = dict(zip(ENCODINGS, ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"), strict=True))


class Dripping(io.BytesIO):
    """Bytes that come a few at a time."""

    def read1(self, size=-1):
        return self.read(min(size, 7))


def wav(subtype, *, channels=2, kind="WAV"):
    file = io.BytesIO()
    soundfile.write(file, scene(0.05, channels=channels).T, 8000, subtype=subtype, format=kind)
    return file.getvalue()


def joined(reader):
    return np.concatenate(list(reader.blocks()), axis=1)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_is_read_as_libsndfile_reads_it_and_written_back(encoding):
    data = wav(SUBTYPES[encoding])
    reader = PipeReader(Dripping(data))
    assert reader.format == SampleFormat(sample_rate_hz=8000, channels=2, encoding=encoding)
    assert reader.samples == 400
    waveform = joined(reader)
    np.testing.assert_array_equal(waveform, soundfile.read(io.BytesIO(data), dtype="float32")[0].T)
    out = io.BytesIO()
    writer = PipeWriter(out, format=reader.format, wav=True, samples=400)
    writer.write(waveform[:, :150])
    writer.write(waveform[:, 150:])
    writer.finish()
    back, rate = soundfile.read(io.BytesIO(out.getvalue()), dtype="float32")
    assert rate == 8000
    assert soundfile.info(io.BytesIO(out.getvalue())).subtype == SUBTYPES[encoding]
    np.testing.assert_allclose(back.T, waveform, atol=2**-24)


def test_extensible_and_long_headers_are_read():
    for kind in ("WAVEX", "RF64"):
        assert joined(PipeReader(Dripping(wav("PCM_24", channels=3, kind=kind)))).shape == (3, 400)


def test_other_chunks_before_and_after_the_samples_are_skipped():
    data = wav("PCM_16")
    start = data.index(b"data")
    extra = struct.pack("<4sI", b"LIST", 5) + b"hello\0"
    waveform = joined(PipeReader(Dripping(data[:start] + extra + data[start:] + extra)))
    assert waveform.shape == (2, 400)


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 0x7FFF_FFFF - 36])
def test_a_streamed_header_has_no_length(size):
    data = bytearray(wav("PCM_16"))
    struct.pack_into("<I", data, data.index(b"data") + 4, size)
    reader = PipeReader(Dripping(bytes(data)))
    assert reader.samples is None
    assert joined(reader).shape == (2, 400)


def test_an_unknown_length_is_corrected_at_the_end_if_possible(tmp_path):
    format = SampleFormat(sample_rate_hz=8000, channels=1, encoding="u8")
    sound = scene(0.1).astype(np.float32)[:, :701]
    headers = []
    for path, before in ((tmp_path / "a.wav", b""), (tmp_path / "b.wav", b"before")):
        with path.open("wb") as file:
            file.write(before)
            writer = PipeWriter(file, format=format, wav=True)
            headers.append(path.read_bytes()[len(before) :])
            writer.write(sound)
            writer.finish()
        whole = path.read_bytes()[len(before) :]
        assert soundfile.info(io.BytesIO(whole)).frames == 701
        assert path.read_bytes().startswith(before)
    assert headers == [wav_header(format, None)] * 2
    with (tmp_path / "log.wav").open("ab") as appended:
        writer = PipeWriter(appended, format=format, wav=True)
        writer.write(sound)
        writer.finish()
    assert (tmp_path / "log.wav").read_bytes() == headers[0] + format.encode(sound)
    assert soundfile.info(tmp_path / "log.wav").frames == 701  # as libsndfile takes such a header


def test_a_length_beyond_the_header_is_written_as_unknown():
    format = SampleFormat(sample_rate_hz=48_000, channels=2, encoding="f64le")
    assert struct.unpack_from("<I", wav_header(format, 2**40), 40) == (0xFFFF_FFFF,)
    assert struct.unpack_from("<I", wav_header(format, 1000), 40) == (16_000,)


@pytest.mark.parametrize(
    ("change", "said", "samples"),
    [
        (lambda data: b"", "The standard input is empty", None),
        (lambda data: b"RIFF", "is not WAV", None),
        (lambda data: b"some text that is long enough", "is not WAV", None),
        (lambda data: b"RIFX" + data[4:], "is not WAV", None),
        (lambda data: data[:20], "ended before its first sample", None),
        (lambda data: data[:38], "ended before its first sample", None),
        (lambda data: data[:12] + data[data.index(b"data") :], "damaged header", None),
        (lambda data: data[:44], "holds no samples", 0),
        (lambda data: data[:-101], "ended after 374 of 400 samples", 374),
        (lambda data: data[:16] + b"\xff\xff\xff\x7f" + data[20:], "damaged header", None),
        (lambda data: data[:20] + b"\x55" + data[21:], "format 85 with 16 bits", None),
        (lambda data: data[:22] + b"\0\0" + data[24:], "which is not supported", None),
        (lambda data: data[:24] + b"\xff\xff\xff\xff" + data[28:], "4294967295 Hz", None),
        (lambda data: data[:34] + b"\x0b" + data[35:], "with 11 bits", None),
    ],
)
def test_an_unusable_wav_is_refused(change, said, samples):
    came = 0
    with pytest.raises(AudioSepError, match=said):  # noqa: PT012 - what came before the end counts
        for block in PipeReader(Dripping(change(wav("PCM_16")))).blocks():
            came += block.shape[1]
    assert came == (samples or 0)


def test_a_skipped_chunk_that_never_ends_takes_no_memory():
    class Endless:
        def __init__(self):
            self.left = [b"RIFF\xff\xff\xff\xffWAVEjunk\xff\xff\xff\xff"] + [bytes(1 << 16)] * 200

        def read1(self, size):
            assert size <= 1 << 16
            return self.left.pop(0) if self.left else b""

    with pytest.raises(AudioSepError, match="ended before its first sample"):
        PipeReader(Endless())


def test_raw_samples_need_no_header_and_must_be_whole():
    format = SampleFormat(sample_rate_hz=44_100, channels=2, encoding="s24le")
    sound = scene(0.02, channels=2).astype(np.float32)
    data = format.encode(sound)
    np.testing.assert_allclose(joined(PipeReader(Dripping(data), raw=format)), sound, atol=2**-23)
    blocks = []
    with pytest.raises(AudioSepError, match=r"within a sample \(4 of 6 bytes\)"):
        blocks.extend(PipeReader(Dripping(data[:-2]), raw=format).blocks())
    with pytest.raises(AudioSepError, match="holds no samples"):
        list(PipeReader(Dripping(b""), raw=format).blocks())
    floating = SampleFormat(sample_rate_hz=44_100, channels=1, encoding="f32le")
    for value in (np.nan, np.inf):
        with pytest.raises(AudioSepError, match="NaN or infinite"):
            list(PipeReader(Dripping(np.float32([0, value]).tobytes()), raw=floating).blocks())
    huge = SampleFormat(sample_rate_hz=44_100, channels=1, encoding="f64le")
    with pytest.raises(AudioSepError, match="NaN or infinite"):
        list(PipeReader(Dripping(np.float64([1e300]).tobytes()), raw=huge).blocks())


def test_steps_are_clipped_and_never_wrap():
    for encoding in ("u8", "s16le", "s24le", "s32le"):
        format = SampleFormat(sample_rate_hz=8000, channels=1, encoding=encoding)
        loud = np.float32([[-2, -1, 0, 1, 2]])
        low, zero, high = format.decode(format.encode(loud))[0][[0, 2, 4]]
        assert (low, zero) == (-1, 0)
        assert high > 0.99
