"""Sounds and pictures as queries: the input of the encoder, and mistakes."""

import itertools

import numpy as np
import pytest
import soundfile
from PIL import Image
from separation_models import CONDITION_SIZE, RATE, scene, scene_file, unit

import audiosep_jax
from audiosep_jax.audio.reading import read_audio
from audiosep_jax.cli.main import main
from audiosep_jax.errors import AudioSepError


def picture(seed, *, height=24, width=10):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def picture_file(path, seed):
    Image.fromarray(picture(seed)).save(path)
    return path


def test_a_sound_is_a_query_as_file_and_as_array(model, senses, tmp_path):
    path = scene_file(tmp_path / "in.flac", 2, rate=22_050, channels=2)
    condition = model.condition(query_audio=path)
    waveform, rate = senses.heard[0]
    assert rate == 22_050
    recording = read_audio(path)
    np.testing.assert_allclose(waveform, recording.waveform.mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(condition, senses.encode_audio([waveform], sample_rate_hz=rate)[0])
    for same in (str(path), (recording.waveform, rate), (recording.waveform.mean(axis=0), rate)):
        np.testing.assert_allclose(model.condition(query_audio=same), condition, atol=1e-6)
    mixture = scene(1)[0]
    by_sound = model.separate(mixture, RATE, query_audio=path).estimate
    np.testing.assert_array_equal(by_sound, model.separate(mixture, RATE, condition=condition).estimate)
    other = (np.ones(100), RATE)
    assert np.abs(by_sound - model.separate(mixture, RATE, query_audio=other).estimate).max() > 1e-4


def test_the_first_ten_seconds_are_read_and_no_more(model, senses, tmp_path, monkeypatch):
    path = scene_file(tmp_path / "long.wav", 60, channels=2)
    read = []

    def counted(reader, *arguments, original=audiosep_jax.audio.reading.AudioReader.blocks, **options):
        for block in original(reader, *arguments, **options):
            read.append(block.shape[1])
            yield block

    monkeypatch.setattr(audiosep_jax.audio.reading.AudioReader, "blocks", counted)
    condition = model.condition(query_audio=path)
    assert 10 * RATE <= sum(read) <= 10 * RATE + 2 * 65_536
    waveform, _ = senses.heard[0]
    assert 10 * RATE <= len(waveform) <= 10.2 * RATE
    np.testing.assert_allclose(waveform, read_audio(path).waveform.mean(axis=0)[: len(waveform)], atol=1e-6)
    np.testing.assert_array_equal(model.condition(query_audio=(read_audio(path).waveform, RATE)), condition)


def test_pictures_are_the_frames_of_one_query(model, senses, tmp_path):
    pictures = [picture(seed, height=20 + seed) for seed in range(40)]
    rows = senses.encode_images(pictures)
    condition = model.condition(query_images=pictures)
    np.testing.assert_allclose(condition, unit([rows.mean(axis=0)])[0], atol=1e-6)
    paths = [tmp_path / f"{seed}.png" for seed in range(40)]
    for path, each in zip(paths, pictures, strict=True):
        Image.fromarray(each).save(path)
    np.testing.assert_array_equal(model.condition(query_images=list(map(str, paths))), condition)
    np.testing.assert_array_equal(model.condition(query_images=[*paths[:7], *pictures[7:]]), condition)
    for alone in ([paths[3]], paths[3], pictures[3], np.stack(pictures[3:4])):
        np.testing.assert_allclose(model.condition(query_images=alone), rows[3], atol=1e-6)


def test_files_are_separated_by_sound_and_picture(model, senses, tmp_path):
    path = scene_file(tmp_path / "in.wav", 1, subtype="PCM_24")
    mixture = read_audio(path).waveform
    example = scene_file(tmp_path / "example.wav", 1, channels=1, rate=4000)
    for number, query in enumerate(({"query_audio": example}, {"query_images": [picture(1)]})):
        out = tmp_path / f"{number}.wav"
        model.separate_file(path, estimate_path=out, **query)
        wanted = model.separate(mixture, RATE, **query).estimate
        np.testing.assert_allclose(read_audio(out).waveform, wanted, atol=2**-23)


def test_exactly_one_kind_of_query_is_taken(model, senses):
    ways = {
        "query": "dog",
        "query_audio": (np.ones(9), RATE),
        "query_images": [picture(0)],
        "condition": np.ones(CONDITION_SIZE),
    }
    for way in ways.items():
        assert model.condition(**dict([way])).shape == (CONDITION_SIZE,)
    for number in (0, 2, 3, 4):
        for chosen in itertools.combinations(ways, number):
            with pytest.raises(AudioSepError, match="Give exactly one of") as refusal:
                model.condition(**{name: ways[name] for name in chosen})
            assert " and ".join(chosen) in str(refusal.value)


@pytest.mark.parametrize(
    ("query", "sense", "tower_that_can"),
    [
        ({"query_audio": "dog.wav"}, "takes no sounds", '"clap"'),
        ({"query_images": ["dog.png"]}, "takes no images", '"clip"'),
    ],
)
def test_an_encoder_that_cannot_take_an_example_names_one_that_can(
    model, tower, query, sense, tower_that_can
):
    with pytest.raises(AudioSepError) as refusal:
        model.condition(**query)
    assert '"letters"' in str(refusal.value)
    assert sense in str(refusal.value)
    assert tower_that_can in str(refusal.value)


def test_unusable_sounds_are_refused(model, senses, tmp_path):
    late = np.concatenate([np.zeros(10 * RATE), np.ones(RATE)])
    soundfile.write(tmp_path / "late.wav", late, RATE)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no sound")
    for query, reason in [
        (tmp_path / "late.wav", r"late\.wav is silent in its first 10 s"),
        ((late, RATE), "audio query is silent"),
        ((np.array([[1.0, 1], [-1, -1]]), RATE), "audio query is silent"),
        ((np.full(99, 2**-15), RATE), "audio query is silent"),
        (tmp_path / "empty.wav", r"empty\.wav is empty"),
        (tmp_path / "text.wav", r"text\.wav is not a sound file"),
        (tmp_path / "none.wav", r"none\.wav does not exist"),
        ((np.zeros(0), RATE), r"shape \(0,\)"),
        ((np.full(9, np.nan), RATE), "NaN"),
        ((np.ones(9), 0), "0 Hz"),
        (np.ones(9), "pair"),
        ((np.ones(9),), "pair"),
    ]:
        with pytest.raises(AudioSepError, match=reason):
            model.condition(query_audio=query)
    assert not senses.heard


def test_unusable_pictures_are_refused(model, senses, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    for query, reason in [
        ([], "holds no image"),
        (np.zeros((0, 4, 4, 3), np.uint8), "holds no image"),
        ([picture(0), tmp_path / "none.png"], r"none\.png does not exist"),
        ([tmp_path / "text.png"], r"text\.png"),
    ]:
        with pytest.raises(AudioSepError, match=reason):
            model.condition(query_images=query)
    assert not senses.seen


@pytest.fixture
def ready(monkeypatch, model, senses, tmp_path):
    """The random model with an encoder of sounds and images; a recording and examples."""
    monkeypatch.setattr(audiosep_jax, "load", lambda checkpoint: model)
    monkeypatch.chdir(tmp_path)
    scene_file(tmp_path / "street.wav", 1)
    for number, name in enumerate(("bark.wav", "Rain!.flac")):
        soundfile.write(tmp_path / name, scene(1, seed=number)[0], RATE)
    for number, name in enumerate(("a.png", "b.png", "c.png")):
        picture_file(tmp_path / name, number)
    return tmp_path


def test_the_command_takes_every_kind_of_query_at_once(ready, model):
    examples = ["--query-audio", "bark.wav", "Rain!.flac", "--query-image", "a.png", "b.png"]
    command = ["separate", "street.wav", "--query", "dog", *examples, "--query-image", "c.png"]
    assert main([*command, "--query-audio", "bark.wav"]) == 0
    mixture = soundfile.read(ready / "street.wav", dtype="float32")[0]
    wanted = {
        "dog": {"query": "dog"},
        "bark": {"query_audio": "bark.wav"},
        "rain": {"query_audio": "Rain!.flac"},
        "a": {"query_images": ["a.png", "b.png"]},
        "c": {"query_images": ["c.png"]},
    }
    found = {path.name for path in (ready / "separated").iterdir()} - {".audiosep"}
    assert found == {f"street.{name}.{kind}.wav" for name in wanted for kind in ("estimate", "residual")}
    for name, query in wanted.items():
        estimate = soundfile.read(ready / "separated" / f"street.{name}.estimate.wav", dtype="float32")[0]
        np.testing.assert_allclose(estimate, model.separate(mixture, RATE, **query).estimate, atol=2**-15)


def test_the_command_passes_upstream_windows_on(ready, monkeypatch, model):
    asked = []

    def stopped(self, queries, options, **_):
        asked.append(options.upstream_windows)
        raise KeyboardInterrupt

    monkeypatch.setattr(type(model), "stream_for", stopped)
    for options in ([], ["--upstream-windows"]):
        assert main(["separate", "street.wav", "--query", "dog", *options]) == 130
    assert asked == [False, True]


def test_a_bad_query_ends_the_command_before_any_work(ready, capsys):
    (ready / "silent.wav").write_bytes((ready / "bark.wav").read_bytes()[:44] + bytes(2 * RATE))
    (ready / "text.png").write_text("no picture")
    for arguments, said in [
        (["--query-audio", "bark.wav", "none.wav"], "none.wav does not exist"),
        (["--query-audio", "silent.wav"], "silent.wav is silent"),
        (["--query-image", "a.png", "text.png"], "text.png"),
        (["--query-image"], "--query-image names no file"),
        (["--query-audio"], "--query-audio names no file"),
        ([], "--query-audio or --query-image"),
    ]:
        query = ["--query", "dog"] if arguments else []
        assert main(["separate", "street.wav", *query, *arguments]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert "Traceback" not in error
    assert not (ready / "separated").exists()
