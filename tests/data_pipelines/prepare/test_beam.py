"""Apache Beam on this machine; the error for a missing Beam is tested with the command."""

import functools
import json
import os

import pytest
from pipelines_sounds import RATE, digests, prepared, write_folder
from test_resuming import cut_off

from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora.audio_folder import AudioFolder
from data_pipelines.prepare import beam
from data_pipelines.prepare.build import prepare

pytestmark = [
    pytest.mark.extras,
    pytest.mark.beam,
    pytest.mark.filterwarnings("ignore"),  # of Beam's own
]


def on_beam(source, out, *words, **options):
    options = {"sample_rate_hz": RATE, "clips_per_shard": 4, **options}
    make_shards = functools.partial(
        beam.make_shards, options=beam.parse_options(" ".join(("runner=DirectRunner", *words)))
    )
    return prepare(
        lambda work: AudioFolder(source=source, data_dir=work, **options), out, make_shards=make_shards
    )


@pytest.mark.parametrize(
    "words",
    [
        (),
        pytest.param(
            ("direct_num_workers=2", "direct_running_mode=multi_processing"), marks=pytest.mark.slow
        ),
    ],
)
def test_it_writes_the_same_bytes(tones, tmp_path, words):
    on_beam(tones, tmp_path / "beam", *words)
    assert digests(tmp_path / "beam") == digests(prepared(tones, tmp_path / "here", clips_per_shard=4))
    assert sorted(os.listdir(tmp_path)) == ["beam", "here"]


def test_it_resumes_a_build_of_this_process_and_vice_versa(tones, tmp_path):
    cut_off(tones, tmp_path / "out", after=10)
    on_beam(tones, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(prepared(tones, tmp_path / "here", clips_per_shard=4))


def test_failures_are_reported_as_without_beam(tmp_path):
    source = write_folder(tmp_path / "source", seconds=0.2)
    (source / "03.wav").write_text("no sound")
    (source / "05.wav").unlink()
    with pytest.raises(AudioSepError, match=r"1 of 11 clips cannot be used.*03\.wav"):
        on_beam(source, tmp_path / "out", expects_missing=True)
    on_beam(source, tmp_path / "out", expects_missing=True, max_failed_share=0.1)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert ([clip["file"] for clip in report["skipped"]], report["missing"]) == (["03.wav"], ["05.wav"])


def test_an_unknown_runner_is_named(tones, tmp_path):
    with pytest.raises(AudioSepError, match=r"The Beam pipeline failed .*Runner"):
        on_beam(tones, tmp_path / "out", "runner=NoSuchRunner")
    assert not (tmp_path / "out").exists()


def test_the_error_of_a_worker_ends_the_build_with_its_text(tones, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(beam, "make_shard", fail)
    with pytest.raises(AudioSepError, match=r"The Beam pipeline failed .*No space left on device"):
        on_beam(tones, tmp_path / "out")
