import io
import sys

import numpy as np
import pytest
from debian_packages import COMPRESSIONS, group, qt_resource, sound, sound_catalogue, write_deb, zipped

from audiosep_jax.errors import DatasetError, MissingPackageError
from data_pipelines.corpora.open_sounds import archives, debs, sounds
from data_pipelines.corpora.open_sounds.archives import ArchiveError

FILES = {"usr/share/a.wav": sound(0), "usr/share/doc/a/copyright": b"CC0"}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_package_is_read_without_dpkg(tmp_path, compression):
    deb = debs.read(write_deb(tmp_path, "a", FILES, version="1:2.0-1", compression=compression))
    assert (deb.name, deb.version) == ("a", "1:2.0-1")
    assert {name: content.read() for name, content in debs.files(deb)} == FILES


@pytest.mark.extras
def test_a_package_may_be_compressed_with_zstd(tmp_path, monkeypatch):
    zstandard = pytest.importorskip("zstandard")
    monkeypatch.setitem(COMPRESSIONS, ".zst", zstandard.compress)
    deb = debs.read(write_deb(tmp_path, "a", FILES, compression=".zst"))
    assert {name: content.read() for name, content in debs.files(deb)} == FILES


def test_zstd_without_its_library_is_an_error_that_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(COMPRESSIONS, ".zst", lambda data: data)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    path = write_deb(tmp_path, "a", FILES, compression=".zst")
    with pytest.raises(MissingPackageError, match=r"a_1.0-1_all.deb .* zstd: install .*\[open-sounds\]"):
        debs.read(path)


@pytest.mark.parametrize("kept", [4, 20, 90, 200, -1])
def test_a_cut_package_is_damaged(tmp_path, kept):
    path = write_deb(tmp_path, "a", FILES)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DatasetError, match=r"a_1.0-1_all.deb is damaged \(.*\): download it again"):
        list(debs.files(debs.read(path)))


def test_a_flipped_byte_is_damage(tmp_path):
    path = write_deb(tmp_path, "a", {"a.wav": np.random.default_rng(0).bytes(100_000)})
    content = bytearray(path.read_bytes())
    content[-30_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="is damaged"):
        list(debs.files(debs.read(path)))
    with pytest.raises(DatasetError, match="is damaged"):
        [content.read() for _, content in debs.files(debs.read(path))]


ARCHIVES = {
    "a.pk3": (zipped({"in/a.wav": FILES["usr/share/a.wav"]}), "in/a.wav"),
    "a.rcc": (qt_resource("a.wav", FILES["usr/share/a.wav"]), "sounds/a.wav"),
    "a.cat": (sound_catalogue(b"RIFF of another", FILES["usr/share/a.wav"]), "01_Level_crossing.wav"),
    "a.ocg": (
        group({"b.txt": b"text", "In.ocg": group({"a.wav": FILES["usr/share/a.wav"]}, packed=False)}),
        "In.ocg/a.wav",
    ),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_gives_its_files(tmp_path, name):
    content, member = ARCHIVES[name]
    path = tmp_path / "unpacked"
    path.write_bytes(content)
    read = archives.open_archive(name, path)
    assert read(member) == FILES["usr/share/a.wav"]
    with pytest.raises(ArchiveError, match=f"{name} has no readable "):
        read(member.replace("a.wav", "b.wav").replace("01_", "07_"))


@pytest.mark.parametrize("name", ["a.pk3", "a.rcc", "a.ocg"])
def test_a_cut_archive_is_an_error(tmp_path, name):
    path = tmp_path / "unpacked"
    path.write_bytes(ARCHIVES[name][0][:40])
    with pytest.raises(ArchiveError, match=name):
        archives.open_archive(name, path)("sounds/a.wav")


def test_a_file_of_no_kind_is_no_archive(tmp_path):
    path = tmp_path / "unpacked"
    path.write_bytes(b"text")
    with pytest.raises(ArchiveError, match=r"a.xyz is no archive of a known kind"):
        archives.open_archive("a.xyz", path)


def test_silence_at_both_ends_goes():
    waveform = np.zeros(32_000, np.float32)
    waveform[10_000:20_000] = 0.5
    assert len(sounds.trim(waveform)) == 10_000 + 2 * 320
    assert len(sounds.trim(waveform * 0)) == 0


def test_the_peak_is_raised_at_most_24_db():
    tone = np.sin(np.arange(1000, dtype=np.float32))
    assert np.max(np.abs(sounds.level(tone * 0.1))) == pytest.approx(0.7)
    assert np.max(np.abs(sounds.level(tone * 0.001))) == pytest.approx(0.001 * 10**1.2, rel=1e-3)
    assert sounds.is_quiet(tone * 0.001)
    assert sounds.is_quiet(tone[:0])
    assert not sounds.is_quiet(tone * 0.1)


def test_a_part_is_faded_only_where_it_was_cut():
    waveform = np.full(16_000, 0.5, np.float32)
    whole = sounds.cut(waveform, 32_000, start=0, seconds=0.5)
    assert whole[0] == whole[-1] == 0.5
    part = sounds.cut(waveform, 32_000, start=0.1, seconds=0.2)
    assert (part[0], part[-1], len(part)) == (0, 0, 6_400)
    assert part[200] == 0.5


def test_what_is_no_sound_is_an_error():
    with pytest.raises(ArchiveError, match=r"a.wav is no sound that can be decoded"):
        sounds.decode("a.wav", b"text")
    found, rate = sounds.decode("a.wav", sound(0))
    assert (len(found), rate) == (8_000, 16_000)


@pytest.mark.extras
def test_g722_is_decoded_at_16_khz():
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="g722") as container:
        stream = container.add_stream("g722", rate=16_000, layout="mono")
        pcm = (8_000 * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    found, rate = sounds.decode("a.g722", file.getvalue())
    assert rate == 16_000
    assert abs(len(found) - 16_000) < 100
    assert np.argmax(np.abs(np.fft.rfft(found[:16_000]))) == pytest.approx(440, abs=3)
