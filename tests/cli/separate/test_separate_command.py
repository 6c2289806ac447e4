"""`audiosep separate`: names, summaries, several recordings and queries, failures that do not stop others."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
from separation_models import RATE, scene, scene_file

import audiosep_jax
from audiosep_jax.checkpoints import folder
from audiosep_jax.cli.main import main
from audiosep_jax.cli.separate.discovery import Recording
from audiosep_jax.cli.separate.naming import plan, slug
from audiosep_jax.cli.separate.queries import named_queries
from audiosep_jax.errors import AudioSepError
from audiosep_jax.separation import api
from audiosep_jax.separation.api import AudioSep


def test_every_recording_and_query_gives_two_files_that_add_up(ready, capsys):
    scene_file(ready / "street.wav", 1.5, rate=22_050, channels=2)
    scene_file(ready / "📻 radio.flac", 1, subtype="PCM_24")
    assert (
        main(["separate", "street.wav", "📻 radio.flac", "--query", "A dog barks!", "--query", "rain"]) == 0
    )
    names = [
        f"{stem}.{query}.{kind}.wav"
        for stem in ("street", "📻 radio")
        for query in ("a-dog-barks", "rain")
        for kind in ("estimate", "residual")
    ]
    assert sorted(path.name for path in (ready / "separated").glob("[!.]*")) == sorted(names)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [f"separated/{name}" for name in names]
    assert "1.5 s, 22050 Hz, 2 ch, PCM_16" in lines[0]
    assert "dB of the mixture" in lines[0]
    for name in names[::2]:
        estimate, residual = (
            soundfile.read(ready / "separated" / each, dtype="int32")[0]
            for each in (name, name.replace("estimate", "residual"))
        )
        source = "street.wav" if name.startswith("street") else "📻 radio.flac"
        np.testing.assert_array_equal(estimate + residual, soundfile.read(ready / source, dtype="int32")[0])


def test_one_failure_does_not_stop_the_others(ready, capsys):
    scene_file(ready / "good.wav", 1)
    (ready / "bad.wav").write_text("no sound")
    assert main(["separate", "bad.wav", "missing.wav", "good.wav", "--query", "dog", "--out", "new/out"]) == 2
    shown = capsys.readouterr()
    assert "audiosep: error: bad.wav is not a sound file" in shown.err
    assert "audiosep: error: missing.wav does not exist" in shown.err
    assert shown.err.endswith("audiosep: 2 of 3 recordings failed:\n  bad.wav\n  missing.wav\n")
    assert "Traceback" not in shown.err
    assert sorted(path.name for path in (ready / "new" / "out").glob("[!.]*")) == [
        "good.dog.estimate.wav",
        "good.dog.residual.wav",
    ]


def test_a_checkpoint_folder_is_used(ready, monkeypatch, model, tmp_path, capsys):
    monkeypatch.setattr(audiosep_jax, "load", api.load)
    folder.save(tmp_path / "checkpoint", model.config, model.variables)
    path = scene_file(tmp_path / "in.wav", 0.5)
    out = tmp_path / "out"
    command = ["separate", str(path), "--query", "dog", "--out", str(out), "--checkpoint"]
    assert main([*command, str(tmp_path / "checkpoint")]) == 0
    assert (out / "in.dog.estimate.wav").exists()
    assert main([*command, str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_mistakes_end_before_any_work(ready, capsys):
    scene_file(ready / "in.wav", 1)
    (ready / "file").touch()
    for arguments, said in [
        (["--query", "dog"], "No recording was given"),
        (["in.wav", "--query"], "No query was given"),
        (["in.wav"], "No query was given"),
        (
            ["in.wav", "--query", "dog", "--out", "file/out"],
            "file/out cannot be written as a folder: Not a directory",
        ),
    ]:
        assert main(["separate", *arguments]) == 2
        assert said in capsys.readouterr().err
    assert not (ready / "separated").exists()


def asked(*texts, audio=(), images=()):
    recordings = [audio] if audio else []
    return named_queries(
        texts=[texts], recordings=recordings, pictures=images, without=(), average=False, weights=()
    )


def names(recordings, queries):
    jobs = plan([Recording(Path(path)) for path in recordings], queries, out=Path("out"), stems=False)
    return [result.name for job in jobs for result in job.results]


def test_results_never_share_a_name():
    assert names(["a/x.wav", "b/x.flac"], asked("dog")) == ["x.dog", "x.dog-2"]
    assert names(["x.wav", "X.wav"], asked("dog")) == ["x.dog", "X.dog-2"]
    assert names(["x.wav"], asked("Dog!", "dog?", "dog")) == ["x.dog", "x.dog-2", "x.dog-3"]
    assert names(["x.wav"], asked("dog", "dog")) == ["x.dog"]
    sounds = [Path(name) for name in ("a/Dog.wav", "b/dog.flac", "a/Dog.wav")]
    frames = [(Path("dog.png"), Path("cat.png")), (Path("dog.png"),)]
    queries = asked("dog", audio=sounds, images=frames)
    assert names(["x.wav"], queries) == ["x.dog", *(f"x.dog-{n}" for n in (2, 3, 4, 5))]


def test_stems_share_the_name_of_the_recording():
    recordings = [Recording(Path("a/x.wav")), Recording(Path("b/x.wav"), Path("b"))]
    jobs = plan(recordings, asked("dog", "rest", "Dog!"), out=Path("out"), stems=True)
    files = [[str(file) for file in job.results[0].files] for job in jobs]
    assert files[0] == [
        "out/x.dog.stem.wav",
        "out/x.rest-2.stem.wav",
        "out/x.dog-2.stem.wav",
        "out/x.rest.wav",
    ]
    assert files[1] == [file.replace("out/", "out/b/") for file in files[0]]


def test_slugs_are_file_names_in_any_script():
    assert slug("A dog barks, loudly") == "a-dog-barks-loudly"
    assert slug("Hund bellt über Straße") == "hund-bellt-über-straße"
    assert slug("犬が吠える") == "犬が吠える"
    assert slug("../../etc/passwd") == "etc-passwd"
    assert slug("🐕") == "query"
    longest = names(["🎵" * 60 + ".wav"], asked("犬" * 500))[0]
    assert len(f"{longest}-99.estimate.wav".encode()) <= 255


def test_a_result_never_replaces_a_recording(tmp_path):
    recordings = [Recording(Path("x.wav")), Recording(tmp_path / "x.dog.residual.wav")]
    with pytest.raises(AudioSepError, match=r"x\.dog\.residual\.wav would overwrite a recording"):
        plan(recordings, asked("dog"), out=tmp_path, stems=False)
    example = asked("dog", audio=[tmp_path / "x.dog.estimate.wav"])
    with pytest.raises(AudioSepError, match=r"x\.dog\.estimate\.wav would overwrite the example of a query"):
        plan(recordings[:1], example, out=tmp_path, stems=False)


@pytest.fixture
def levelled(ready, monkeypatch, model):
    """The random model with a working level."""
    network = dataclasses.replace(model.config.model, working_level_db=6.0)
    changed = AudioSep(dataclasses.replace(model.config, model=network), model.variables)
    monkeypatch.setattr(audiosep_jax, "load", lambda checkpoint: changed)
    return ready


def test_level_says_whether_the_model_hears_its_working_level(levelled):
    soundfile.write(levelled / "in.wav", 0.01 * scene(1)[0], RATE, subtype="FLOAT")

    def estimate(*arguments):
        assert main(["separate", "in.wav", "--query", "dog", *arguments]) == 0
        return soundfile.read("separated/in.dog.estimate.wav")[0]

    working = estimate()
    as_is = estimate("--level", "as_is")
    assert np.abs(working - as_is).max() > 1e-5
    half = slice(RATE // 2)  # the reference's only window is shorter, and mirrored elsewhere
    np.testing.assert_allclose(estimate("--preset", "reference")[half], as_is[half], atol=1e-7)
    np.testing.assert_array_equal(estimate("--level", "working"), working)


def test_samples_far_beyond_full_scale_are_warned_of(levelled, capsys):
    soundfile.write(levelled / "in.wav", 32768 * scene(1)[0], RATE, subtype="FLOAT")
    for again in range(2):
        assert main(["separate", "in.wav", "--query", "dog"]) == 0
        shown = capsys.readouterr()
        assert "audiosep: warning: in.wav: samples reach" in shown.err
        assert "where full scale is 1: divide by 32768" in shown.err
        assert ("done already" in shown.out) == bool(again)
