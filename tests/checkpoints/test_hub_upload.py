"""Publishing: the uploaded files, one commit, and clear errors."""

import json
import shutil
import types
from pathlib import Path

import pytest
import released_files
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from released_files import CLAP
from safetensors.numpy import save_file
from test_folder import CONFIG, values

from audiosep_jax.checkpoints import folder
from audiosep_jax.checkpoints.hub_upload import push
from audiosep_jax.encoders.clap import config as clap_config
from audiosep_jax.errors import AudioSepError


class FakeApi:
    """A fake hub: keeps the committed files, or raises."""

    error: Exception | None = None

    def __init__(self):
        self.calls = []
        self.files = {}

    def create_repo(self, repository, **options):
        self.calls.append(("create_repo", repository, options))
        if self.error is not None:
            raise self.error

    def create_branch(self, repository, **options):
        self.calls.append(("create_branch", repository, options))

    def create_commit(self, repository, operations, **options):
        self.calls.append(("create_commit", repository, options))
        for operation in operations:
            with operation.as_file() as file:
                self.files[operation.path_in_repo] = file.read()


@pytest.fixture
def api(monkeypatch):
    api = FakeApi()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: api)
    return api


@pytest.fixture
def place(tmp_path):
    folder.save(tmp_path / "model", CONFIG, values(1))
    return tmp_path / "model"


def write_tower(path):
    """A tower folder with the files that publishing reads."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(clap_config.to_json(CLAP)))
    save_file({}, path / "model.safetensors")
    released_files.write_tokenizer(path)
    (path / "notes.docx").write_text("private")
    return path


def set_source(place, source):
    config = json.loads((place / "config.json").read_text("utf-8"))
    config["query"] = {"encoder": "clap", "source": source}
    (place / "config.json").write_text(json.dumps(config))


def test_a_folder_goes_up_in_one_commit_with_a_card(api, place):
    (place / "private.txt").write_text("not for everybody")
    address = push(place, "org/name", private=True, message="the first")
    assert address == "https://huggingface.co/org/name"
    assert [name for name, *_ in api.calls] == ["create_repo", "create_commit"]
    assert api.calls[0][2] == {"private": True, "exist_ok": True}
    assert api.calls[1][2] == {"commit_message": "the first", "revision": None}
    assert sorted(api.files) == ["README.md", "config.json", "model.safetensors"]
    assert api.files["model.safetensors"] == (place / "model.safetensors").read_bytes()
    card = api.files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: audiosep_jax\n")
    assert "| STFT window, hop | 16, 5 samples |" in card
    assert not (place / "README.md").exists()


def test_a_card_that_is_there_goes_up_as_it_is(api, place):
    (place / "README.md").write_text("my card")
    push(place, "org/name", revision="trial")
    assert api.files["README.md"] == b"my card"
    assert api.calls[1] == ("create_branch", "org/name", {"branch": "trial", "exist_ok": True})
    assert api.calls[2][2]["revision"] == "trial"


@pytest.mark.parametrize("where", ["inside", "elsewhere"])
def test_the_tower_goes_along_and_is_found_again(where, api, place, tmp_path):
    inside = where == "inside"
    tower = write_tower(place / "tower" if inside else tmp_path / "towers" / "clap")
    set_source(place, "tower" if inside else str(tower))
    push(place, "org/name")
    assert sorted(name for name in api.files if name.startswith("tower/")) == [
        "tower/config.json",
        "tower/model.safetensors",
        "tower/tokenizer.json",
    ]
    down = tmp_path / "down"
    for name, content in api.files.items():
        (down / name).parent.mkdir(parents=True, exist_ok=True)
        (down / name).write_bytes(content)
    assert folder.load(down).config.query.source == str(down / "tower")
    assert str(tmp_path) not in api.files["config.json"].decode()


def test_a_tower_on_the_hub_stays_a_name(api, place):
    set_source(place, "laion/clap-htsat-unfused")
    push(place, "org/name")
    assert json.loads(api.files["config.json"])["query"]["source"] == "laion/clap-htsat-unfused"


def refusal(status):
    response = types.SimpleNamespace(status_code=status, headers={}, request=None)
    return HfHubHTTPError("no", response=response)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (LocalTokenNotFoundError("no token"), "log in with `hf auth login`"),
        (refusal(401), "log in with `hf auth login`"),
        (refusal(403), "This token may not write to org/name"),
        (refusal(500), "org/name could not be uploaded (HfHubHTTPError: no"),
        (ConnectionError("no route\nto host"), "could not be uploaded (ConnectionError: no route): check"),
    ],
)
def test_refusals_are_worded(error, said, api, place):
    api.error = error
    with pytest.raises(AudioSepError) as raised:
        push(place, "org/name")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def break_weights(place):
    (place / "model.safetensors").write_bytes(b"")


def break_tower(place):
    tower = write_tower(place / "tower")
    (tower / "tokenizer.json").unlink()
    set_source(place, "tower")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (break_weights, "is damaged or not a safetensors file"),
        (break_tower, "its config.json or tokenizer is missing"),
        (shutil.rmtree, "is not a checkpoint folder"),
    ],
)
def test_a_damaged_folder_is_not_published(fault, said, api, place):
    fault(place)
    with pytest.raises(AudioSepError, match=said):
        push(place, "org/name")
    assert api.calls == []


@pytest.mark.parametrize("name", ["name", "a/b/c", "org/name@main", "", "org/na me"])
def test_a_name_that_the_hub_cannot_have_is_refused(name, api, place):
    with pytest.raises(AudioSepError, match="is no name on the hub"):
        push(place, name)
    assert api.calls == []


def test_nothing_is_written_beside_the_folder(api, place):
    before = sorted(Path(place.parent).rglob("*"))
    push(place, "org/name")
    assert sorted(Path(place.parent).rglob("*")) == before
