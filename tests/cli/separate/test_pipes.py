"""`audiosep separate -`: sound through the standard input and output, in real processes and within one."""

import contextlib
import dataclasses
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from separation_models import RATE, scene, scene_file

import audiosep_jax
from audiosep_jax.audio.pcm import SampleFormat
from audiosep_jax.audio.reading import read_audio
from audiosep_jax.audio.wav_pipe import PipeReader
from audiosep_jax.cli.main import main
from audiosep_jax.cli.separate.pipe import pass_through
from audiosep_jax.utils.signals import Terminated

COMMAND = [sys.executable, "-m", "audiosep_jax.cli.main", "separate", "-"]
DOG = Path(audiosep_jax.__file__).parent / "assets" / "demo" / "dog_barking_1.ogg"


class Pipe:
    """Replaces the standard streams of this process."""

    def __init__(self, monkeypatch, data):
        self.out = io.BytesIO()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(self.out, write_through=True))


def piped(monkeypatch, data, *arguments, status=0):
    pipe = Pipe(monkeypatch, data)
    assert main(["separate", "-", *arguments]) == status
    return pipe.out.getvalue()


def test_wav_keeps_its_length_and_alignment(ready, monkeypatch, model):
    path = scene_file(ready / "in.wav", 3, rate=22_050, channels=2, subtype="PCM_24")
    out = piped(monkeypatch, path.read_bytes(), "--query", "dog")
    info = soundfile.info(io.BytesIO(out))
    assert (info.samplerate, info.channels, info.frames, info.subtype) == (22_050, 2, 66_150, "PCM_24")
    sound = soundfile.read(io.BytesIO(out), dtype="float32")[0].T
    usual = model.separate(read_audio(path).waveform, 22_050, query="dog").estimate
    np.testing.assert_allclose(sound[:, 22_050:-22_050], usual[:, 22_050:-22_050], atol=1e-3)
    standard = piped(monkeypatch, path.read_bytes(), "--query", "dog", "--preset", "standard")
    sound = soundfile.read(io.BytesIO(standard), dtype="float32")[0].T
    np.testing.assert_allclose(sound[:, :-22_050], usual[:, :-22_050], atol=1e-5)


def test_a_query_and_the_rest_sum_to_the_input(ready, monkeypatch):
    path = scene_file(ready / "in.wav", 2, rate=16_000)
    parts = [
        soundfile.read(io.BytesIO(piped(monkeypatch, path.read_bytes(), flag, "dog")), dtype="int16")[0]
        for flag in ("--query", "--without")
    ]
    difference = parts[0].astype(int) + parts[1] - soundfile.read(path, dtype="int16")[0]
    assert np.abs(difference).max() <= 1  # both are rounded
    assert np.abs(parts[0]).max() > 100


def test_raw_in_and_out_and_one_into_the_other(ready, monkeypatch):
    sound = (scene(1, channels=2) * 32767).astype("<i2").T
    raw = ("--rate", str(RATE), "--channels", "2")
    out = piped(monkeypatch, sound.tobytes(), "--query", "dog", *raw)
    assert len(out) == sound.nbytes
    wav = piped(monkeypatch, sound.tobytes(), "--query", "dog", *raw, "--to", "wav")
    assert wav.endswith(out)
    assert soundfile.info(io.BytesIO(wav)).frames == len(sound)
    file = io.BytesIO()
    soundfile.write(file, sound, RATE, format="WAV")
    assert piped(monkeypatch, file.getvalue(), "--query", "dog", "--to", "raw") == out


def test_wav_goes_out_in_another_encoding(uncompiled, monkeypatch):
    data = scene_file(uncompiled / "in.wav", 1).read_bytes()
    for encoding, subtype in (("s24le", "PCM_24"), ("f32le", "FLOAT")):
        out = piped(monkeypatch, data, "--query", "dog", "--encoding", encoding)
        info = soundfile.info(io.BytesIO(out))
        assert (info.samplerate, info.frames, info.subtype) == (RATE, RATE, subtype)


@pytest.mark.parametrize("error", [KeyboardInterrupt, Terminated])
@pytest.mark.parametrize("within", ["separation", "writing"])
def test_an_interrupted_file_has_its_length_in_its_header(tmp_path, error, within):
    class Interrupted:
        left = 2

        def push(self, mixture):
            self.left -= 1
            if self.left < 0:
                raise error
            return mixture

    format = SampleFormat(sample_rate_hz=RATE, channels=2, encoding="s24le")
    data = format.encode(scene(3, channels=2).astype(np.float32))
    if within == "writing":

        class Interrupting(SampleFormat):
            def encode(self, waveform):
                target.write(bytes(601))  # as much as the system took of a block
                raise error

        format = Interrupting(**dataclasses.asdict(format))
    target = (tmp_path / "out.wav").open("wb")
    reader = PipeReader(io.BufferedReader(io.BytesIO(data)), raw=format)
    with target, pytest.raises(error):
        pass_through(reader, Interrupted(), target, format=format, container="wav")
    written = (tmp_path / "out.wav").read_bytes()
    place = written.index(b"data") + 8
    size = int.from_bytes(written[place - 4 : place], "little")
    assert size == (len(written) - place) // 6 * 6 > 0
    assert len(written) - place - size < 6
    assert soundfile.info(tmp_path / "out.wav").frames == size // 6


def test_samples_before_an_error_are_separated(ready, monkeypatch, capsys):
    data = scene_file(ready / "in.wav", 1).read_bytes()
    whole = piped(monkeypatch, data, "--query", "dog", "--to", "raw")
    cut = piped(monkeypatch, data[: -RATE + 1], "--query", "dog", "--to", "raw", status=2)
    assert len(whole) == 2 * RATE
    assert len(cut) == RATE
    assert "ended after 4000 of 8000 samples" in capsys.readouterr().err
    for bad, said in (
        (b"", "The standard input is empty"),
        (b"hello " * 9, "is not WAV"),
        (data[:44], "holds no samples"),
    ):
        assert piped(monkeypatch, bad, "--query", "dog", "--to", "raw", status=2) == b""
        assert said in capsys.readouterr().err


def raw_clip(seconds):
    """The demo's dog, over and over, as 16-bit samples."""
    clip = read_audio(DOG, sample_rate_hz=16_000, mono=True).waveform[0]
    return (np.resize(clip, seconds * 16_000) * 32767).astype("<i2").tobytes()


def started(*arguments, **streams):
    return subprocess.Popen(
        [*COMMAND, "--query", "a dog barking", *arguments],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        **{"stdout": subprocess.PIPE, **streams},
    )


RAW = ("--rate", "16000")


def test_a_slow_writer_gets_results_before_its_end():
    """A real process: after 4 s of sound more than 2 s have come back, and the rest after the end."""
    data = raw_clip(5)
    process = started(*RAW)
    process.stdin.write(data[: 4 * 32_000])
    process.stdin.flush()
    early = process.stdout.read(2 * 32_000)  # waits for good, if they only come at the end
    assert process.poll() is None
    process.stdin.write(data[4 * 32_000 :])
    process.stdin.close()
    with process.stdout, process.stderr:
        out, errors = process.stdout.read(), process.stderr.read()
    assert process.wait(60) == 0, errors
    assert len(early + out) == len(data)
    assert np.abs(np.frombuffer(early, "<i2")).max() > 1000
    assert errors == b""


@pytest.mark.slow
def test_the_reader_of_the_output_ends_first():
    """Real processes: the reader leaves before the first, and after some, sound."""
    processes = [started(*RAW) for _ in range(2)]
    for process, size in zip(processes, (0, 32_000), strict=True):
        process.stdin.write(raw_clip(4))
        process.stdin.flush()
        process.stdout.read(size)
        process.stdout.close()
    for process in processes:
        with contextlib.suppress(BrokenPipeError):
            for _ in range(20):
                process.stdin.write(raw_clip(1))
                process.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        errors = process.stderr.read()
        assert process.wait(60) == 128 + signal.SIGPIPE
        assert errors == b""
        process.stderr.close()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_pipe_and_leaves_a_valid_file(tmp_path, number, status):
    with (tmp_path / "out.wav").open("wb") as file:
        process = started(*RAW, "--to", "wav", stdout=file)
        process.stdin.write(raw_clip(4))
        process.stdin.flush()
        end = time.monotonic() + 120
        while (tmp_path / "out.wav").stat().st_size < 32_000 and time.monotonic() < end:
            time.sleep(0.1)
        process.send_signal(number)
        errors = process.stderr.read()
        assert process.wait(60) == status
    process.stdin.close()
    process.stderr.close()
    assert b"Traceback" not in errors
    assert errors.count(b"\n") == 1
    written = (tmp_path / "out.wav").read_bytes()
    place = written.index(b"data") + 8
    assert int.from_bytes(written[place - 4 : place], "little") == len(written) - place
    sound, rate = soundfile.read(tmp_path / "out.wav")
    assert rate == 16_000
    assert len(sound) >= 16_000
    assert np.abs(sound).max() > 0.03


@pytest.mark.slow
def test_it_works_in_shell_pipelines():
    """A terminal is refused, nothing else is printed, and a pipeline's file has its length in its header."""
    clip = subprocess.run(
        f"{sys.executable} -m audiosep_jax.cli.main separate - --query 'a dog barking' < $IN > $OUT",
        shell=True,
        env={**os.environ, "IN": str(DOG), "OUT": os.devnull},
        capture_output=True,
        check=False,
    )
    assert clip.returncode == 2
    assert b"is not WAV" in clip.stderr
    main_end, other_end = os.openpty()
    for streams in ({"stdin": other_end, "stdout": subprocess.PIPE}, {"stdout": other_end}):
        refused = subprocess.run(
            [*COMMAND, "--query", "dog"],
            stderr=subprocess.PIPE,
            check=False,
            **{"stdin": subprocess.DEVNULL, **streams},
        )
        assert refused.returncode == 2
        assert b"is a terminal" in refused.stderr
    os.close(main_end)
    os.close(other_end)


def test_samples_far_beyond_full_scale_are_warned_of(uncompiled, monkeypatch, capsys):
    sound = (1000 * scene(1)[0]).astype("<f4")
    raw = ("--rate", str(RATE), "--encoding", "f32le")
    out = piped(monkeypatch, sound.tobytes(), "--query", "dog", *raw)
    assert len(out) == sound.nbytes
    assert "audiosep: warning: samples reach" in capsys.readouterr().err
