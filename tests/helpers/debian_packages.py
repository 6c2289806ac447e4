"""Small Debian packages, and small tables of open_sounds about them."""

import csv
import gzip
import hashlib
import io
import json
import lzma
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
COMPRESSIONS = {".xz": lzma.compress, ".gz": lambda data: gzip.compress(data, mtime=0), "": bytes}


def sound(index: int, *, seconds: float = 0.5, rate: int = RATE, lead: float = 0.0) -> bytes:
    """Returns a WAV file of a tone that decays, after `lead` seconds of silence."""
    time = np.arange(round(seconds * rate)) / rate
    tone = 0.4 * np.exp(-1.5 * time) * np.sin(2 * np.pi * (220 + 60 * index) * time)
    return wav(np.concatenate([np.zeros(round(lead * rate)), tone]), rate=rate)


def wav(waveform: np.ndarray, *, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def qt_resource(name: str, content: bytes) -> bytes:
    """Returns a Qt resource (version 1) with one file in the folder "sounds"."""
    names = b"".join(struct.pack(">HI", len(part), 0) + part.encode("utf-16-be") for part in ("sounds", name))
    second = 6 + 2 * len("sounds")
    tree = struct.pack(">IHII", 0, 2, 1, 1)  # the root, with one child
    tree += struct.pack(">IHII", 0, 2, 1, 2)  # sounds, with one child
    tree += struct.pack(">IHHHI", second, 0, 0, 0, 0)  # the file, at the beginning of the data
    data = struct.pack(">I", len(content)) + content
    places = 20 + len(data), 20, 20 + len(data) + len(tree)
    return b"qres" + struct.pack(">4I", 1, *places) + data + tree + names


def sound_catalogue(*sounds: bytes) -> bytes:
    """Returns a sound set of OpenTTD."""
    place, table, data = 8 * len(sounds), b"", b""
    for number, content in enumerate(sounds):
        name = f"sound {number}".encode() + b"\0"
        table += struct.pack("<II", place + len(data), len(content))
        data += bytes([len(name)]) + name + content
    return table + data


def group(files: dict[str, bytes], *, packed: bool = True) -> bytes:
    """Returns a group of OpenClonk; files that are groups are not packed themselves."""
    header = bytearray(204)
    header[:24] = b"RedWolf Design GrpFolder"
    header[36:40] = struct.pack("<i", len(files))
    header = bytearray(byte ^ 237 for byte in header)
    for place in range(0, len(header) - 2, 3):
        header[place], header[place + 2] = header[place + 2], header[place]
    entries, data = b"", b""
    for name, content in files.items():
        entry = bytearray(316)
        entry[: len(name)] = name.encode()
        entry[268:280] = struct.pack("<iii", len(content), 0, len(data))
        entries, data = entries + bytes(entry), data + content
    whole = bytes(header) + entries + data
    return b"\x1e\x8c" + gzip.compress(whole, mtime=0)[2:] if packed else whole


def write_deb(
    folder: Path, name: str, files: dict[str, bytes], *, version: str = "1.0-1", compression: str = ".xz"
) -> Path:
    """Writes a package and returns its path."""
    control = f"Package: {name}\nVersion: {version}\nDescription: sounds\n more: of it\n".encode()
    members = {
        "debian-binary": b"2.0\n",
        f"control.tar{compression}": _tar({"./control": control}, compression),
        f"data.tar{compression}": _tar(
            {f"./{path}": content for path, content in files.items()}, compression
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_{version}_all.deb"
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for member, content in members.items():
            file.write(f"{member:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
            file.write(content + b"\n" * (len(content) % 2))
    return path


def _tar(files: dict[str, bytes], compression: str) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return COMPRESSIONS[compression](whole.getvalue())


def digest(*contents: bytes) -> str:
    return hashlib.sha256(b"".join(contents)).hexdigest()[:8]


def write_tables(folder: Path, clips: list[dict[str, object]], *, versions: dict[str, str]) -> Path:
    """Writes the tables of a corpus; clips have at least clip, label, package, members and check."""
    folder.mkdir(parents=True)
    usual = {"captions": "", "start": 0, "seconds": 0.5, "licence": "CC0", "split": "train"}
    columns = ["clip", "label", "captions", "package", "members", "start", "seconds"]
    columns += ["licence", "split", "check"]
    with (folder / "clips.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(usual | clip for clip in clips)
    with (folder / "packages.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("package", "version", "stated_in"))
        writer.writerows((name, version, f"doc/{name}") for name, version in versions.items())
    labels = sorted({str(clip["label"]) for clip in clips})
    kinds = {
        label: {
            "kind": "other",
            "captions": [f"a {label}", f"the sound of a {label}", f"some {label}"],
            "heldout_captions": [f"that {label}", f"this {label}"],
            "also": [other for other in labels if other != label and {label, other} <= {"bell", "chimes"}],
        }
        for label in labels
    }
    (folder / "open_sounds_labels.json").write_text(json.dumps(kinds))
    return folder
