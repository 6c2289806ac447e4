"""Tells files of weights from others by their first bytes."""

from pathlib import Path
from typing import Literal

from audiosep_jax.errors import CheckpointError

# Suffixes of files that hold weights.
SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".safetensors")

# Of `torch.save` before PyTorch 1.6: a pickle that begins with this number.
_LEGACY_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")

_OTHERS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"RIFF": "a WAV or WebP file",
    b"fLaC": "a FLAC recording",
    b"OggS": "an OGG recording",
    b"ID3": "an MP3 recording",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file",
    b"GGUF": "a GGUF file",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"<": "a web page: the download went wrong, perhaps because it needs a login",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file itself with `git lfs pull`",
    b"{": "a JSON file",
}


def file_kind(path: Path) -> Literal["torch", "safetensors"]:
    """Returns the format of a file of weights.

    Raises:
      CheckpointError: the file is of neither format, or of an older PyTorch format; the text says which.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
            size = file.seek(0, 2)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    if not head:
        raise CheckpointError(f"{path} is empty: get the file again.")
    if head.startswith(b"PK\x03\x04"):
        return "torch"
    if head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") <= size - 8:
        return "safetensors"
    if head[257:262] == b"ustar" or _LEGACY_MAGIC in head[:32]:
        raise CheckpointError(
            f"{path} has the format of PyTorch before 1.6: load it with a newer PyTorch and save it again "
            "with torch.save."
        )
    if head[:1] == b"\x80" and head[1] <= 5:
        raise CheckpointError(
            f"{path} is a bare Python pickle, which torch.save does not write. It is not read, because a "
            "pickle can run any program: get the weights as safetensors."
        )
    for start, what in _OTHERS.items():
        if head.lstrip(b"\xef\xbb\xbf\r\n\t ").startswith(start):
            raise CheckpointError(f"{path} is not a file of weights but {what}.")
    raise CheckpointError(
        f"{path} is neither a PyTorch nor a safetensors file, or its beginning is damaged: give a .ckpt, .pt "
        "or .safetensors file."
    )
