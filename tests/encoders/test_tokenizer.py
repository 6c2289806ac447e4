import json
import shutil
from pathlib import Path

import pytest
import tokenizers

from audiosep_jax.encoders.tokenizer import load_tokenizer, tokenize
from audiosep_jax.errors import AudioSepError

DATA = Path(__file__).parents[1] / "data"
FLAVOURS = ["clip", "roberta"]


@pytest.fixture(params=FLAVOURS)
def folder(request, tmp_path):
    folder = tmp_path / request.param
    shutil.copytree(DATA / f"tiny_{request.param}_tokenizer", folder)
    return folder


def expected(folder):
    return json.loads((folder / "expected.json").read_text("utf-8"))


def change_config(folder, name, **values):
    path = folder / name
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(old | values))


def test_ids_are_those_of_transformers(folder):
    # Recorded from CLIPTokenizer and RobertaTokenizer of transformers 5.23: capitals, scripts, emoji, quotes,
    # composed and decomposed letters, special tokens written out.
    tokenizer, _ = load_tokenizer(folder)
    for text, ids in expected(folder):
        assert tokenizer.encode(text).ids == ids, text
    assert len(expected(folder)) == 13


def test_a_file_of_the_whole_tokenizer_is_preferred_and_alike(folder):
    tokenizer, first = load_tokenizer(folder)
    for text, _ in expected(folder):
        tokenizer.encode(text)
    # Files on the hub may carry padding and truncation of their own: they must not come through.
    tokenizer.enable_padding(length=40)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(folder / "tokenizer.json"))
    for name in ("vocab.json", "merges.txt", "config.json"):
        (folder / name).unlink()
    again, second = load_tokenizer(folder)
    assert first != second
    for text, ids in expected(folder):
        assert again.encode(text).ids == ids, text


def test_the_flavour_follows_the_model(folder):
    ids = [ids for _, ids in expected(folder)]
    for model_type in {"clip": ["clip", "clip_text_model"], "roberta": ["clap", "laion_clap", "roberta"]}[
        folder.name
    ]:
        change_config(folder, "config.json", model_type=model_type)
        tokenizer, _ = load_tokenizer(folder)
        assert [tokenizer.encode(text).ids for text, _ in expected(folder)] == ids


def test_the_hash_follows_what_the_ids_depend_on(folder):
    hashes = {load_tokenizer(folder)[1], load_tokenizer(str(folder))[1]}
    assert len(hashes) == 1
    merges = folder / "merges.txt"
    merges.write_text("\n".join(merges.read_text("utf-8").split("\n")[:-2]) + "\n", "utf-8")
    hashes.add(load_tokenizer(folder)[1])
    if folder.name == "roberta":
        change_config(folder, "tokenizer_config.json", add_prefix_space=True)
        tokenizer, new = load_tokenizer(folder)
        hashes.add(new)
        assert tokenizer.encode("dog").ids == tokenizer.encode(" dog").ids
    assert len(hashes) == (3 if folder.name == "roberta" else 2)


@pytest.mark.parametrize("written", [lambda token: token, lambda token: {"content": token, "lstrip": False}])
def test_other_special_tokens_are_taken_from_their_file(folder, written):
    _, ids = expected(folder)[0]
    vocabulary = json.loads((folder / "vocab.json").read_text("utf-8"))
    end = next(token for token, i in vocabulary.items() if i == ids[-1])
    vocabulary = {"[END]" if token == end else token: i for token, i in vocabulary.items()}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    with pytest.raises(AudioSepError, match=r"vocab\.json lacks the token"):
        load_tokenizer(folder)
    names = ("eos_token", "sep_token")
    change_config(folder, "tokenizer_config.json", **{name: written("[END]") for name in names})
    tokenizer, _ = load_tokenizer(folder)
    assert tokenizer.encode("dog").ids == ids
    assert tokenizer.encode("dog").tokens[-1] == "[END]"


def test_long_texts_keep_the_token_at_their_end(folder):
    tokenizer, _ = load_tokenizer(folder)
    (dog, _), short = expected(folder)[0], expected(folder)[0][1]
    with pytest.warns(UserWarning, match=r"1 text\(s\) exceed 7 tokens and are cut there.*'dog dog"):
        cut, whole = tokenize(tokenizer, ["dog " * 20, dog], max_tokens=7)
    assert len(cut) == 7
    assert cut[-1] == short[-1]
    assert cut[:2] == short[:2]
    assert whole == short
    # The next one may be longer: what one caller sets does not stay.
    assert len(tokenize(tokenizer, ["dog " * 20], max_tokens=400)[0]) > 22


@pytest.mark.parametrize("text", ["", "   ", "\t\n\u3000", "\u200b\u200b", "\x00"])
def test_an_empty_query_is_refused(folder, text):
    tokenizer, _ = load_tokenizer(folder)
    with pytest.raises(AudioSepError, match="is empty: describe"):
        tokenize(tokenizer, ["dog", text], max_tokens=20)


def test_what_is_no_list_of_texts_is_refused(folder):
    tokenizer, _ = load_tokenizer(folder)
    with pytest.raises(AudioSepError, match="list of texts"):
        tokenize(tokenizer, "dog", max_tokens=20)
    with pytest.raises(AudioSepError, match="not valid Unicode"):
        tokenize(tokenizer, ["dog\udcff"], max_tokens=20)


def lose_everything(folder):
    (folder / "vocab.json").unlink()
    return "neither tokenizer.json nor vocab.json with merges.txt nor vocab.txt"


def lose_merges(folder):
    (folder / "merges.txt").unlink()
    return "neither tokenizer.json nor vocab.json with merges.txt nor vocab.txt"


def break_vocabulary(folder):
    (folder / "vocab.json").write_text('{"a": ')
    return "vocab.json is not a readable tokenizer"


def break_merges(folder):
    (folder / "merges.txt").write_text("#version: 0.2\nx q zz\n")
    return "vocab.json is not a readable tokenizer"


def be_another_model(folder):
    change_config(folder, "config.json", model_type="gpt2")
    return "model_type 'gpt2': only CLIP's and RoBERTa's are known"


def lose_config(folder):
    (folder / "config.json").unlink()
    return "config.json is not a readable JSON file"


def break_settings(folder):
    (folder / "tokenizer_config.json").write_text("[]")
    return "tokenizer_config.json must hold a JSON object"


@pytest.mark.parametrize(
    "fault",
    [
        lose_everything,
        lose_merges,
        break_vocabulary,
        break_merges,
        be_another_model,
        lose_config,
        break_settings,
    ],
)
def test_an_unfit_folder_is_refused_with_its_name(folder, fault):
    part = fault(folder)
    with pytest.raises(AudioSepError, match=str(folder)) as caught:
        load_tokenizer(folder)
    assert part in str(caught.value)


def test_tokenizers_are_of_one_type(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog"]))
    for folder in (tmp_path, *(DATA / f"tiny_{flavour}_tokenizer" for flavour in FLAVOURS)):
        assert isinstance(load_tokenizer(folder)[0], tokenizers.Tokenizer)
