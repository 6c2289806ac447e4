"""Conversions never replace or remove files of the user, even if they are killed or others write there."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import released_files

from audiosep_jax.checkpoints import folder, targets, tower_folder
from audiosep_jax.checkpoints.from_pytorch import convert
from audiosep_jax.checkpoints.targets import new_file, new_folder
from audiosep_jax.checkpoints.to_pytorch import to_lightning
from audiosep_jax.encoders import tokenizer
from audiosep_jax.errors import AudioSepError
from audiosep_jax.utils import staging

PARTS = ("config.json", "model.safetensors", "carried.safetensors", "tower/config.json")


def checkpoint(place, text="old", parts=PARTS):
    for name in parts:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


def contents(place):
    """Everything below a folder: files with their content, links with their target, folders."""
    return {
        path.relative_to(place).as_posix(): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in place.rglob("*")
    }


def write(place, text="new", *, overwrite=False, during=lambda: None, **kwargs):
    with new_folder(place, overwrite=overwrite, **kwargs) as new:
        checkpoint(new, text, PARTS[:2])
        during()


def refused(place, said, call, unchanged=None):
    before = contents(unchanged or place.parent)
    with pytest.raises(AudioSepError, match=said) as error:
        call()
    assert "\n" not in str(error.value)
    assert contents(unchanged or place.parent) == before


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    place = tmp_path_factory.mktemp("files")
    released_files.write_lightning(place / "audiosep.ckpt", released_files.state_dict())
    released_files.write_tokenizer(place / "words")
    convert(place / "audiosep.ckpt", place / "model", preset="paper", tokenizer=str(place / "words"))
    return place


@pytest.mark.parametrize(
    "name", ["runs/log", "carried.safetensors.bak", "tower/mine.bin", "tower/README.md", ".git/HEAD"]
)
def test_overwrite_leaves_a_folder_with_foreign_files_alone(name, tmp_path):
    place = checkpoint(tmp_path / "out")
    (place / name).parent.mkdir(exist_ok=True)
    (place / name).write_text("mine")
    refused(place, f"out holds '{name}', which no conversion wrote", lambda: write(place, overwrite=True))


def test_overwrite_leaves_a_folder_with_a_foreign_link_alone(tmp_path):
    place = checkpoint(tmp_path / "out")
    (tmp_path / "data").mkdir()
    (place / "runs").symlink_to(tmp_path / "data", target_is_directory=True)
    refused(place, "out holds 'runs'", lambda: write(place, overwrite=True))


def test_overwrite_replaces_a_checkpoint_and_keeps_its_readme(tmp_path):
    place = checkpoint(tmp_path / "out")
    (place / "README.md").write_text("my words")
    write(place, overwrite=True)
    expected = {PARTS[0]: b"new", PARTS[1]: b"new", "README.md": b"my words"}
    assert contents(place) == expected
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_all_that_a_conversion_writes_may_be_replaced(files):
    tower_files = {"config.json", "model.safetensors", *tower_folder.SETTINGS, *tokenizer.FILES}
    assert tower_files | {f"tower/{name}" for name in tower_files} <= targets.PARTS
    assert staging.foreign(files / "model", targets.PARTS) is None


def test_a_source_in_the_target_is_not_converted_away(files, tmp_path):
    """A conversion does not remove the file or tower that it reads, whatever its name."""
    place = tmp_path / "loss"
    shutil.copytree(files / "model", place)
    shutil.copy(files / "audiosep.ckpt", place / "original.ckpt")
    (place / "README.md").write_text("mine")
    (place / "runs").mkdir()
    (place / "runs" / "log").write_text("mine")
    (tmp_path / "link").symlink_to(place, target_is_directory=True)
    words = {"tokenizer": str(files / "words"), "overwrite": True}
    for source in (place / "original.ckpt", tmp_path / "link" / "original.ckpt"):
        refused(place, "holds the source", lambda s=source: convert(s, place, preset="paper", **words))
    shutil.rmtree(place / "runs")
    (place / "original.ckpt").rename(place / "vocab.txt")
    refused(place, "holds the source", lambda: convert(place / "vocab.txt", place, preset="paper", **words))
    refused(place, "holds the source", lambda: convert(place / "tower", place / "tower", **words))
    refused(place, "holds the source", lambda: convert(place / "tower", place, **words))


def test_a_conversion_to_pytorch_does_not_replace_a_part_of_its_source(files, tmp_path):
    place = tmp_path / "model"
    shutil.copytree(files / "model", place)
    (tmp_path / "other").symlink_to(place, target_is_directory=True)
    for target in (place / "model.safetensors", place / "tower" / "tokenizer.json"):
        for source in (place, tmp_path / "other"):
            refused(
                place,
                "is part of the source",
                lambda s=source, t=target: to_lightning(s, t, overwrite=True),
            )
    to_lightning(place, place / "back.ckpt")
    to_lightning(place, place / "back.ckpt", overwrite=True)


def test_a_folder_that_appears_meanwhile_is_not_replaced(tmp_path):
    place = tmp_path / "out"

    def appear():
        place.mkdir()
        (place / "thesis.txt").write_text("precious")

    for overwrite, said in (
        (False, "is not empty: choose another folder"),
        (True, "not a checkpoint folder"),
    ):
        with pytest.raises(AudioSepError, match=said):
            write(place, overwrite=overwrite, during=appear)
        assert contents(tmp_path) == {"out": None, "out/thesis.txt": b"precious"}
        shutil.rmtree(place)


def test_what_appears_in_a_checkpoint_meanwhile_is_not_removed(tmp_path):
    place = checkpoint(tmp_path / "out")
    before = contents(tmp_path)
    with pytest.raises(AudioSepError, match=r"holds 'thesis\.txt'"):
        write(place, overwrite=True, during=lambda: (place / "thesis.txt").write_text("precious"))
    assert contents(tmp_path) == before | {"out/thesis.txt": b"precious"}


def test_an_empty_folder_or_a_file_that_appears(tmp_path):
    place = tmp_path / "out"
    write(place, during=place.mkdir)
    assert contents(place) == {PARTS[0]: b"new", PARTS[1]: b"new"}
    with pytest.raises(AudioSepError, match="is a file: give the name of a new folder"):
        write(tmp_path / "two", during=lambda: (tmp_path / "two").write_text("precious"))
    assert (tmp_path / "two").read_text() == "precious"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_not_replaced(links, tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(staging.os, "link", unsupported)
    place = tmp_path / "model.ckpt"

    def write_file():
        with new_file(place, overwrite=False) as new:
            new.write_text("new")
            place.write_text("precious")

    with pytest.raises(AudioSepError, match=r"model\.ckpt exists: choose another name"):
        write_file()
    assert contents(tmp_path) == {"model.ckpt": b"precious"}
    with pytest.raises(FileExistsError):  # the last moment, after every question
        staging._move_file(Path(__file__), place)
    with new_file(place, overwrite=True) as new:
        new.write_text("newer")
    with new_file(tmp_path / "second.ckpt", overwrite=False) as new:
        new.write_text("new")
    assert contents(tmp_path) == {"model.ckpt": b"newer", "second.ckpt": b"new"}


def test_of_two_at_once_the_second_is_refused(tmp_path):
    place, errors = tmp_path / "out", []
    together = threading.Barrier(2, timeout=10)

    def run(text):
        try:
            write(place, text, during=together.wait)
        except AudioSepError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=run, args=(text,)) for text in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 1
    assert "exists and is not empty" in errors[0]
    assert len(set(contents(place).values())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_links_are_refused_before_anything(tmp_path):
    checkpoint(tmp_path / "real")
    (tmp_path / "lk").symlink_to("real", target_is_directory=True)
    (tmp_path / "dangling").symlink_to("nowhere")

    def file(place, overwrite):
        with new_file(place, overwrite=overwrite):
            raise AssertionError("it began")

    def never():
        raise AssertionError("it began")

    for name in ("lk", "dangling"):
        place = tmp_path / name
        for overwrite in (True, False):
            refused(
                place,
                f"{name} is a link: give the name of the folder",
                lambda p=place, o=overwrite: write(p, overwrite=o, during=never),
            )
            refused(
                place,
                f"{name} is a link: give the name of the file",
                lambda p=place, o=overwrite: file(p, o),
            )


def test_a_link_that_appears_meanwhile_leaves_nothing(tmp_path):
    checkpoint(tmp_path / "real")
    with pytest.raises(AudioSepError, match="lk is a link"):
        write(tmp_path / "lk", overwrite=True, during=lambda: (tmp_path / "lk").symlink_to("real"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lk", "real"]
    assert (tmp_path / "real" / "config.json").read_text() == "old"


def test_a_failed_exchange_puts_the_old_one_back(tmp_path, monkeypatch):
    place = checkpoint(tmp_path / "out")
    before, rename = contents(tmp_path), os.rename

    def failing(source, target):
        if Path(source).name == "new":
            raise OSError(errno.EBUSY, "Device or resource busy")
        rename(source, target)

    monkeypatch.setattr(staging, "_exchange", lambda *_: False)
    monkeypatch.setattr(staging.os, "rename", failing)
    with pytest.raises(AudioSepError, match="out cannot be written: Device or resource busy"):
        write(place, overwrite=True)
    assert contents(tmp_path) == before


def test_an_old_one_that_cannot_be_put_back_is_not_lost(tmp_path, monkeypatch):
    place = checkpoint(tmp_path / "out")
    before, rename = contents(place), os.rename

    def failing(source, target):
        if Path(target) == place:
            raise OSError(errno.EBUSY, "Device or resource busy")
        rename(source, target)

    monkeypatch.setattr(staging, "_exchange", lambda *_: False)
    monkeypatch.setattr(staging.os, "rename", failing)
    with pytest.raises(AudioSepError, match=r"could not be put back .*: its files are in (.*)\."):
        write(place, overwrite=True)
    monkeypatch.undo()
    assert not place.exists()
    # The next conversion puts it back itself.
    refused(place, "exists and is not empty", lambda: write(place), unchanged=tmp_path / "nothing")
    assert contents(place) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


COMMAND = """
import sys, time
from audiosep_jax.cli import main
from audiosep_jax.checkpoints import torch_writer
from audiosep_jax.utils import safetensors_file
def slow(*_):
    print("writing", flush=True)
    time.sleep(60)
safetensors_file.raw = torch_writer.raw = slow
sys.exit(main.main(sys.argv[1:]))
"""


@contextlib.contextmanager
def writing_process(*arguments):
    """An `audiosep` that has begun to write and needs a minute."""
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n", process.communicate()[1]
            yield process
        finally:
            process.kill()


def test_sigterm_leaves_nothing(files, tmp_path):
    with writing_process("convert", files / "model", tmp_path / "x.ckpt", "--to", "pytorch") as process:
        assert len(list(tmp_path.iterdir())) == 1
        for _ in range(3):  # as `timeout` does, which signals the process and its group
            process.terminate()
        said = process.communicate(timeout=20)[1]
    assert (process.returncode, said) == (143, "audiosep: terminated\n")
    assert list(tmp_path.iterdir()) == []


def test_the_next_process_removes_what_a_killed_one_left(files, tmp_path):
    place = tmp_path / "out"
    words = str(files / "words")
    arguments = ("convert", files / "audiosep.ckpt", place, "--preset", "paper", "--tokenizer", words)
    mine = [tmp_path / ".out-audiosep-12345678", tmp_path / ".out-personal", tmp_path / ".other-audiosep-1"]
    for other in mine:  # of no process: not to be touched
        checkpoint(other)
    with writing_process(*arguments) as process:
        (left,) = set(tmp_path.iterdir()) - set(mine)
        convert(files / "audiosep.ckpt", place, preset="paper", tokenizer=words)
        assert set(tmp_path.iterdir()) == {*mine, left, place}, "a living process lost its files"
        assert any(left.rglob("model.safetensors"))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert left.exists()
    convert(files / "audiosep.ckpt", place, preset="paper", tokenizer=words, overwrite=True)
    assert set(tmp_path.iterdir()) == {*mine, place}
    assert folder.load(place).config.query.encoder == "clap"


EXCHANGE = """
import os, signal, sys
from audiosep_jax.checkpoints.targets import new_folder
from audiosep_jax.utils import staging
staging._exchange = lambda *_: False
rename = os.rename
def dying(source, target):
    rename(source, target)
    if str(target).endswith("old"):
        os.kill(os.getpid(), getattr(signal, sys.argv[2]))
os.rename = dying
with new_folder(sys.argv[1], overwrite=True) as new:
    for name in ("config.json", "model.safetensors"):
        (new / name).write_text("new")
"""


@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_a_process_that_dies_between_two_renames_loses_nothing(how, tmp_path):
    place = checkpoint(tmp_path / "out")
    before = contents(place)
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + EXCHANGE
    run = subprocess.run([sys.executable, "-c", code, str(place), how], capture_output=True, check=False)
    assert run.returncode == -getattr(signal, how), run.stderr
    if how == "SIGKILL":
        assert not place.exists()
        with pytest.raises(AudioSepError, match="exists and is not empty"):
            write(place)
    assert contents(place) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
