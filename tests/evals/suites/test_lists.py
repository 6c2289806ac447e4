import csv
import json

import benchmark_folders
import pytest

from audiosep_jax.errors import AudioSepError
from audiosep_jax.evals.suites.definitions import SUITES, rendered_suite
from audiosep_jax.evals.suites.plan import chosen_datasets, list_mixtures
from data_pipelines.render.manifest import load_manifest

AUDIOSEP = SUITES["audiosep"]
DCASE = "source,noise,snr,caption"


@pytest.fixture
def folders(tmp_path):
    benchmark_folders.audiosep(tmp_path, tmp_path, rate=800, rows=6)
    benchmark_folders.dcase(tmp_path, tmp_path, rate=800)
    benchmark_folders.voicebank(tmp_path, tmp_path, rate=800)
    return tmp_path


def listed(folders, *names, suite=AUDIOSEP, **changes):
    return list_mixtures(chosen_datasets(suite, names), metadata=folders, root=folders, **changes)


def test_every_row_of_every_list_is_a_mixture_with_existing_files(folders):
    for suite, count in (("audiosep", 40), ("dcase", 5), ("voicebank", 4)):
        mixtures = listed(folders, suite=SUITES[suite])
        assert len(mixtures) == count
        assert all(one.target.is_file() and one.other.is_file() for one in mixtures)
        assert all(len(one.queries) == 1 for one in mixtures)


def test_the_quirks_of_the_lists(folders):
    audioset = listed(folders, "audioset")
    assert audioset[2].target == folders / "audioset/class_id=1/class_id=1,index=000,source.wav"
    assert (audioset[2].label, audioset[2].id) == ("Male speech, man speaking", "class_id=1,index=000")
    clotho = listed(folders, "clotho")
    assert [one.source for one in clotho] == ["Santa Motor0.wav"] * 5 + ["Santa Motor1.wav"]
    vggsound = listed(folders, "vggsound")
    assert vggsound[0].source == vggsound[3].source == "-JUB0o8H_000030"
    assert vggsound[1].queries[0].text == "dog, barking"
    music = listed(folders, "music")
    # Segments of one video are one recording; here every video of an instrument has its letter.
    assert music[0].source == music[1].source == "Y1m_a"
    esc50 = listed(folders, "esc50")
    assert [one.source for one in esc50[:3]] == ["1000", "1000", "1001"]
    captions = listed(folders, "audiocaps")
    assert captions[1].queries[0].text == 'A man says "1", then a dog barks'


def test_labels_and_captions_are_queries_of_the_same_mixtures(folders):
    mixtures = listed(folders, "audiocaps", kinds=["caption", "label"])
    assert [query.kind for query in mixtures[0].queries] == ["caption", "label"]
    assert mixtures[0].queries[1].text == "Speech Inside, public space"
    with pytest.raises(AudioSepError, match="mixture 0 of esc50 has no query of the kind 'caption'"):
        listed(folders, "esc50", kinds=["caption"])


def test_further_queries_select_mixtures_and_come_last(folders):
    file = folders / "mini.csv"
    file.write_text('id,query\n4,"a dog, barking"\n0,a hum\n', "utf-8")
    mixtures = listed(folders, "audiocaps", queries=file)
    assert [one.id for one in mixtures] == ["0", "4"]
    assert [query.kind for query in mixtures[1].queries] == ["caption", "label", "re-annotated"]
    assert mixtures[1].queries[2].text == "a dog, barking"
    file.write_text("dataset,id,kind,query\nesc50,1,long,a bird\naudiocaps,1,long,a man\n", "utf-8")
    mixtures = listed(folders, "audiocaps", "esc50", queries=file, kinds=["long"])
    assert [(one.dataset, [query.text for query in one.queries]) for one in mixtures] == [
        ("audiocaps", ["a man"]),
        ("esc50", ["a bird"]),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,text\n0,x\n", "has the columns id, text: id and query are needed"),
        ("id,query\n77,x\n", "names the mixture 77 of audiocaps in row 2, which is in no list"),
        ("id,query\n0, \n", "has an empty query in row 2"),
        ("id,query\n0,x\n0,y\n", "gives mixture 0 a second query of the kind 're-annotated' in row 3"),
        ("id,kind,query\n0,caption,y\n", "gives mixture 0 a second query of the kind 'caption' in row 2"),
        ("id,query\n0,a dog, barking\n", "has more cells than columns in row 2"),
        ("id,query\n", "holds no query"),
        (None, "is not a readable CSV file of queries"),
    ],
)
def test_unusable_queries_are_named(folders, text, message):
    if text is not None:
        (folders / "mini.csv").write_text(text, "utf-8")
    with pytest.raises(AudioSepError, match=message):
        listed(folders, "audiocaps", queries=folders / "mini.csv")


def test_queries_for_several_datasets_say_which(folders):
    (folders / "mini.csv").write_text("id,query\n0,x\n", "utf-8")
    with pytest.raises(AudioSepError, match="has no column dataset, but audiocaps, esc50 are read"):
        listed(folders, "audiocaps", "esc50", queries=folders / "mini.csv")


@pytest.mark.parametrize(
    ("suite", "name", "text", "message"),
    [
        (
            "audiosep",
            "esc50_eval.csv",
            None,
            r"esc50_eval\.csv does not exist: give the folder of the benchmark.s lists as --metadata",
        ),
        ("audiosep", "esc50_eval.csv", "", r"esc50_eval\.csv has the columns , but idx, caption"),
        ("audiosep", "esc50_eval.csv", "idx,caption,src_wav,noise_wav\n", "lists no mixture"),
        ("audiosep", "esc50_eval.csv", "idx,caption,src_wav,noise_wav\n0,a,b\n", "has 3 cells in row 2"),
        (
            "audiosep",
            "esc50_eval.csv",
            "idx,caption,src_wav,noise_wav\n0,a,b,c\n0,a,b,c\n",
            "mixture 0 twice",
        ),
        ("audiosep", "clotho_eval.csv", "idx,caption,src_wav,noise_wav1\n0,a,b,c\n", "has the columns idx"),
        ("dcase", "lass_synthetic_validation.csv", f"{DCASE}\na,b,loud,c\n", "the snr 'loud' in row 2"),
        ("dcase", "lass_synthetic_validation.csv", "s,n,snr,c\na,b,1,c\n", "has the columns s, n, snr, c"),
        ("dcase", "lass_synthetic_validation.csv", f"{DCASE},query\na,b,1,c,d\n", "has the columns source"),
        ("voicebank", "log_testset.txt", "p232_001 bus\n", "no name, noise and SNR in line 1"),
        ("voicebank", "log_testset.txt", "\n", "lists no utterance"),
        ("voicebank", "log_testset.txt", None, r"log_testset\.txt cannot be read"),
    ],
)
def test_unusable_lists_are_named(folders, suite, name, text, message):
    (folders / name).unlink()
    if text is not None:
        (folders / name).write_text(text, "utf-8")
    with pytest.raises(AudioSepError, match=message):
        listed(folders, suite=SUITES[suite])


@pytest.mark.parametrize("caption", ["caption", "query"])
def test_columns_of_dcase_are_read_by_name(folders, caption):
    expected = listed(folders, suite=SUITES["dcase"])
    path = folders / "lass_synthetic_validation.csv"
    with path.open(newline="") as file:
        _, *rows = csv.reader(file)
    swapped = [[noise, caption_, source, snr] for source, noise, snr, caption_ in rows]
    benchmark_folders.write_table(path, ["noise", caption, "source", "snr"], swapped)
    assert listed(folders, suite=SUITES["dcase"]) == expected


def test_a_dataset_of_another_suite_is_refused():
    with pytest.raises(
        AudioSepError, match="the suite audiosep has no dataset 'dcase': choose among audioset"
    ):
        chosen_datasets(AUDIOSEP, ["dcase"])


def test_a_rendered_corpus_is_a_suite(tmp_path):
    corpus = benchmark_folders.rendered(tmp_path, rate=8000, snrs_db=(-5.0, 3.0))
    suite = rendered_suite(corpus)
    assert (suite.name, suite.measure_hz, suite.datasets[0].name) == ("rendered", 8000, "mine")
    mixtures = listed(corpus, suite=suite)
    assert len(mixtures) == 4
    assert all(one.target.is_file() and one.other.is_file() for one in mixtures)
    assert {one.label for one in mixtures} == {"dog", "rain"}
    assert all(one.label in one.queries[0].text for one in mixtures)
    assert {one.source for one in mixtures} == {f"clip{index}.wav" for index in range(4)}
    assert {one.snr_db for one in mixtures} == {-5.0, 3.0}
    drawn = benchmark_folders.rendered(tmp_path / "drawn", rate=8000, snr_range_db=(-7.4, 7.4))
    assert {one.snr_db for one in listed(drawn, suite=rendered_suite(drawn))} <= {-5.0, 0.0, 5.0}


def test_mixtures_of_one_recording_are_known(tmp_path):
    corpus = benchmark_folders.rendered(tmp_path, rate=8000, recordings=("tape", "rain", "tape", "drops"))
    sources = [one.source for one in listed(corpus, suite=rendered_suite(corpus))]
    assert sorted(sources) == ["drops", "rain", "tape", "tape"]
    # Manifests without recordings are read, too.
    path = corpus / "manifest.json"
    values = json.loads(path.read_text("utf-8"))
    for mixture in values["mixtures"]:
        for part in mixture["parts"]:
            del part["recording"]
    path.write_text(json.dumps(values), "utf-8")
    assert load_manifest(path).mixtures[0].parts[0].recording == ""
    sources = {one.source for one in listed(corpus, suite=rendered_suite(corpus))}
    assert sources == {f"clip{index}.wav" for index in range(4)}


def test_a_folder_that_is_no_corpus_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text('{"recipe": 1}', "utf-8")
    with pytest.raises(AudioSepError, match=r"manifest\.json is damaged"):
        rendered_suite(tmp_path)
    with pytest.raises(
        AudioSepError, match=r"does not exist: give the output folder of audiosep render as --root"
    ):
        rendered_suite(tmp_path / "none")
