"""`audiosep convert` in both directions, with its output."""

import pytest
import released_files

from audiosep_jax.checkpoints import folder, torch_file
from audiosep_jax.cli import main


@pytest.fixture
def files(tmp_path):
    released_files.write_lightning(tmp_path / "audiosep.ckpt", released_files.state_dict())
    released_files.write_tokenizer(tmp_path / "words")
    return tmp_path


def call(files, *arguments):
    return main.main(
        ["convert", *(str(files / one[2:]) if one.startswith("./") else one for one in arguments)]
    )


def test_from_pytorch_and_back(files, capsys):
    assert call(files, "./audiosep.ckpt", "./model", "--preset", "dcase", "--tokenizer", "./words") == 0
    shown = capsys.readouterr().out
    for part in (
        "audiosep.ckpt is AudioSep, a checkpoint of PyTorch Lightning.",
        "separator: 3",
        "16000 Hz, STFT window 1024, hop 160, widths 2 3 4 3 5 2, condition 6.",
        "tower: LAION's CLAP, ",
        "model is a checkpoint folder.",
    ):
        assert part in shown
    assert folder.load(files / "model").config.model.hop_length == 160
    assert call(files, "./model", "./back.ckpt", "--to", "pytorch") == 0
    assert "as they were imported" in capsys.readouterr().out
    back, source = (torch_file.read(files / name)["state_dict"] for name in ("back.ckpt", "audiosep.ckpt"))
    assert list(back) == list(source)
    assert all(back[name].read().tobytes() == source[name].read().tobytes() for name in source)


def test_mistakes_are_one_line_and_write_nothing(files, capsys):
    before = sorted(files.rglob("*"))
    for arguments, said in (
        (["./absent.ckpt", "./out"], "absent.ckpt does not exist"),
        (["./audiosep.ckpt", "./out", "--tokenizer", "./words"], "name the model with --preset"),
        (["./audiosep.ckpt", "./out", "--to", "pytorch"], "is not a checkpoint folder of audiosep_jax"),
        (
            ["./words", "./out.ckpt", "--to", "pytorch", "--preset", "base", "--kind", "tower"],
            "--preset and --kind cannot be used with --to pytorch",
        ),
        (
            ["./audiosep.ckpt", "./out", "--kind", "tower"],
            "is AudioSep, not a tower: convert it with --kind audiosep",
        ),
    ):
        assert call(files, *arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("audiosep: error: ")
        assert said in error
        assert error.count("\n") == 1
    assert sorted(files.rglob("*")) == before


def test_separating_with_a_file_that_is_not_converted_says_what_to_do(files, capsys):
    arguments = ["separate", "x.wav", "--query", "rain", "--checkpoint", str(files / "audiosep.ckpt")]
    assert main.main(arguments) == 2
    assert f"convert it with `audiosep convert {files / 'audiosep.ckpt'} FOLDER`" in capsys.readouterr().err
