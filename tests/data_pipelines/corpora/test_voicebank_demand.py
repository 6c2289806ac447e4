import pickle

import numpy as np
import pytest
from corpus_folders import Prepared, damaged, sound, text
from pipelines_sounds import tone, write_wav

from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora.voicebank_demand import VoiceBankDemand, clean_counterpart

LOG = """p226_001 cafeteria 15
p226_002 ssn 5
p226_003 cafeteria 0
p226_004 cafeteria 0
p287_005 aeroplane 0
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    source = tmp_path_factory.mktemp("voicebank") / "source"
    for kind in ("clean", "noisy"):
        for number in (1, 2, 3, 5):
            speaker = 287 if number == 5 else 226
            noise = (kind == "noisy") * 0.1 * tone(20 + number, seconds=0.2)
            name = f"p{speaker}_{number:03}.wav"
            write_wav(source / f"{kind}_trainset_28spk_wav" / name, tone(number, seconds=0.2) + noise)
    damaged(source / "noisy_trainset_28spk_wav" / "p226_003.wav")
    write_wav(source / "noisy_trainset_28spk_wav" / "p226_002.wav", tone(2, seconds=0.3))
    sound(source / "clean_testset_wav" / "p232_001.wav", 9)
    text(source / "logfiles" / "log_trainset_28spk.txt", LOG)
    text(source / "trainset_28spk_txt" / "p226_001.txt", "Please call Stella.\n")
    return source


@pytest.fixture(scope="module")
def prepared(source):
    words = ("--noise", "--splits", "trainset_28spk", "--max-failed-share", 0.5)
    return Prepared("voicebank_demand", source, *words)


def test_clean_speech_is_called_speech(prepared):
    clips = prepared.clips("trainset_28spk")
    speech = {clip: known.source for clip, known in clips.items() if known.captions == ("speech",)}
    assert speech == {
        f"clean_trainset_28spk_wav/{name}.wav": name
        for name in ("p226_001", "p226_002", "p226_003", "p287_005")
    }


def test_noise_is_the_difference_and_one_noise_is_one_recording(prepared):
    clips = prepared.clips("trainset_28spk")
    noise = {clip: known for clip, known in clips.items() if known.captions != ("speech",)}
    assert {clip: (*known.captions, known.label, known.source) for clip, known in noise.items()} == {
        "noisy_trainset_28spk_wav/p226_001.wav": (
            "noise of a cafeteria",
            "cafeteria noise",
            "DEMAND/cafeteria",
        ),
        "noisy_trainset_28spk_wav/p287_005.wav": ("aeroplane noise", "aeroplane noise", "DEMAND/aeroplane"),
    }
    waveform = prepared.waveform("trainset_28spk", "noisy_trainset_28spk_wav/p226_001.wav")
    assert np.max(np.abs(waveform - 0.1 * tone(21, seconds=0.2))) < 1.5e-4  # three steps of 16 bit


def test_absent_files_are_missing_and_unequal_ones_are_skipped(prepared):
    assert prepared.report["missing"] == [
        "clean_trainset_28spk_wav/p226_004.wav",
        "noisy_trainset_28spk_wav/p226_004.wav",
    ]
    reasons = prepared.skipped
    assert "truncated" in reasons["noisy_trainset_28spk_wav/p226_003.wav"]
    assert "has 2400 samples and clean_trainset" in reasons["noisy_trainset_28spk_wav/p226_002.wav"]


def test_without_logs_there_is_speech_but_no_noise(source, tmp_path):
    builder = VoiceBankDemand(source=source, splits=["testset"], data_dir=tmp_path)
    assert [row.file for row in builder.rows] == ["clean_testset_wav/p232_001.wav"]
    with pytest.raises(AudioSepError, match=r"has no log_testset\.txt, which names the noises"):
        VoiceBankDemand(source=source, splits=["testset"], noise=True, data_dir=tmp_path)


def test_noise_changes_with_the_clean_file(source):
    builder = VoiceBankDemand(source=source, noise=True, splits=["trainset_28spk"], data_dir=source / "out")
    row = next(row for row in builder.rows if row.file.startswith("noisy_"))
    before = builder.encoder().stamp(row)
    (source / clean_counterpart(row.file)).touch()
    assert builder.encoder().stamp(row) != before
    assert pickle.loads(pickle.dumps(builder.encoder())) == builder.encoder()  # it travels to other processes


def test_counterparts():
    assert clean_counterpart("x/noisy_testset_wav_16k/a.wav") == "x/clean_testset_wav_16k/a.wav"
    assert clean_counterpart("clean_testset_wav/a.wav") == clean_counterpart("noisy_a.wav") == ""


def test_a_faulty_log_is_named(tmp_path):
    sound(tmp_path / "clean_testset_wav" / "p232_001.wav")
    text(tmp_path / "log_testset.txt", "p232_001 bus 2.5\n\np232_002 bus\n")
    with pytest.raises(AudioSepError, match=r"log_testset\.txt, line 3 is not a name, a noise and"):
        VoiceBankDemand(source=tmp_path, data_dir=tmp_path / "out")


def test_a_resumed_build_ends_with_the_same_bytes(prepared):
    assert prepared.is_the_same_after_an_interruption()
