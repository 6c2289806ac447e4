"""What a command line may be given, drawn from a seed: broken files, odd names, sentences and folders."""

import dataclasses
import os
import socket
from collections.abc import Callable
from pathlib import Path

import hostile_sounds
import numpy as np
from hostile_sounds import EITHER, REFUSED, RIGHT, Case, case, header, sound

NAMES = (
    "street.wav",
    "🐕🌧️ dog.wav",
    "line\nbreak.wav",
    "tab\tand\x1b[31mcolour\x07.wav",
    "\u202egnorw.wav",
    "e\u0301\u0327" * 20 + ".wav",
    "x" * 251 + ".wav",
    "犬" * 83 + ".wav",
    "not \udcff\udcfe text.wav",
    "[live] *take?.wav",
    "{a,b}.wav",
    "a.b.c..wav",
    "100%25 $HOME `id` ;.wav",
    "'quoted' \"twice\".wav",
    "CON.wav",
    " spaces .wav",
    "x.dog.estimate.wav",
    "-dash.wav",
    "~.wav",
    "no suffix",
    "other.txt",
    "back\\slash.wav",
)
SENTENCES = (
    "a dog",
    "word " * 10_000,
    "🐕" * 200,
    "犬が吠える",
    "a\x1b[2J\x07\nb",
    "../../../../tmp/escaped",
    "/etc/passwd",
    "\u202egnikrab",
    "not \udcff text",
    "%s {} $(id) `id`",
    "x",
    "." * 300,
    "ſ͜͡" * 50,
)
WRONG_SENTENCES = ("", " ", "\n\t ", "\u3000")


def cases(count: int, seed: int, folder: Path):
    """Yields cases, each with its files below a folder of its own, which becomes the current one.

    Kinds come in turn, so that any number of cases holds as many of each as it can; all else is drawn.
    """
    for number in range(count):
        draw = np.random.default_rng([seed, number])
        place = folder / str(number)
        place.mkdir(parents=True)
        name, make = list(KINDS.items())[number % len(KINDS)]
        yield place, dataclasses.replace(make(draw, place), kind=f"{number}: {name}")


def _name(draw, place):
    name = NAMES[int(draw.integers(len(NAMES)))]
    return case(place, sound(draw), RIGHT, name=name)


def _sentence(draw, place):
    sentence = SENTENCES[int(draw.integers(len(SENTENCES)))]
    # The bundled model's tokenizer says of the bytes that are no text that they are none.
    return case(place, sound(draw), EITHER if "\udcff" in sentence else RIGHT, query=sentence)


def _wrong_sentence(draw, place):
    wrong = WRONG_SENTENCES[int(draw.integers(len(WRONG_SENTENCES)))]
    if draw.random() < 0.3:
        return case(place, sound(draw), REFUSED, more=("--without", wrong))
    return case(place, sound(draw), REFUSED, query=wrong)


def _many_queries(draw, place):
    labels = [f"{draw.choice(['dog', 'Dog', 'rain!', 'rain?'])} {draw.integers(4)}" for _ in range(8)]
    made = case(place, sound(draw), RIGHT, query="a dog", more=labels)
    return dataclasses.replace(made, queries=len({"a dog", *labels}))


def _no_file(draw, place):
    """What has a name and is no file to read."""
    path = place / "in.wav"
    kind = int(draw.integers(7))
    if kind == 0:
        path.symlink_to(path)
    elif kind == 1:
        path.symlink_to("nowhere.wav")
    elif kind == 2:
        os.mkfifo(path)
    elif kind == 3:
        with socket.socket(socket.AF_UNIX) as server:
            here = os.getcwd()
            os.chdir(place)  # the path of a socket is short
            server.bind("in.wav")
            os.chdir(here)
    elif kind == 4:
        path.symlink_to("/dev/null")
    elif kind == 5:
        path.mkdir()  # a folder without sound
    else:
        (place / "file").touch()
        path = place / "file" / "in.wav"
    return Case(kind="", arguments=(str(path), "--query", "a dog"), expected=REFUSED)


def _unreadable(draw, place):
    made = case(place, sound(draw), RIGHT if os.geteuid() == 0 else REFUSED)
    (place / "in.wav").chmod(0)
    return made


def _odd_path(draw, place):
    paths = [
        "", " ", "\0", "x/" * 3000 + "y.wav", "y" * 300, "*.wav", "**", "/dev/zero", "-x.wav", "missing.wav",
        "http://127.0.0.1/x.wav", "file:///etc/passwd",
    ]  # fmt: skip
    path = paths[int(draw.integers(len(paths)))]
    return Case(kind="", arguments=("--query", "a dog", "--out", "out", "--", path), expected=REFUSED)


def _folder_in_circles(draw, place):
    inner = place / "in" / "a" / "b"
    inner.mkdir(parents=True)
    sounds = (place / "in" / "1.wav", inner / "2.wav")
    for path in sounds:
        path.write_bytes(sound(draw))
    for number, target in enumerate((place / "in", inner, place / "in" / "a")):
        (inner / f"loop{number}").symlink_to(target)
    given = str(draw.choice(["in", "in/**/*.wav", "in/**"]))
    return Case(kind="", arguments=(given, "--query", "a dog"), expected=RIGHT, sounds=sounds)


def _some_fail(draw, place):
    (place / "in").mkdir()
    good, bad = place / "in" / "good.wav", place / "in" / "bad.wav"
    good.write_bytes(sound(draw))
    bad.write_bytes(draw.bytes(500))
    return Case(
        kind="", arguments=("in", "--query", "a dog", "--jobs", "2"), expected=REFUSED, sounds=(good,)
    )


def _out(draw, place):
    made = case(place, sound(draw), REFUSED)
    out = place / "out"
    kind = int(draw.integers(4))
    if kind == 0:
        out.touch()
    elif kind == 1:
        out.symlink_to(out)
    elif kind == 2:
        (place / "in.a-dog.residual.wav").write_bytes(sound(draw))
        arguments = ("./in.wav", "./in.a-dog.residual.wav", "--query", "a dog", "--out", ".")
        return dataclasses.replace(made, arguments=arguments)
    else:
        (out / "in.a-dog.estimate.wav").mkdir(parents=True)
    return dataclasses.replace(made, arguments=(*made.arguments, "--out", "out"))


def _damaged_record(draw, place):
    records = place / "separated" / ".audiosep"
    records.mkdir(parents=True)
    content = [b"", b"[]", b"{}", b"null", b"\xff\xfe", b'{"maker": 3, "files": 7}', b"[" * 100_000]
    (records / "in.a-dog.json").write_bytes(content[int(draw.integers(len(content)))])
    return case(place, sound(draw), RIGHT)


def _place_of_record(draw, place):
    """What is no record lies where one belongs."""
    records = place / "separated" / ".audiosep"
    if draw.random() < 0.5:
        (records / "in.a-dog.json").mkdir(parents=True)
    else:
        records.parent.mkdir()
        records.touch()
    return case(place, sound(draw), REFUSED)


def _piped(draw, place):
    whole = sound(draw, rate=int(draw.choice([8000, 44_100])), channels=int(draw.integers(1, 3)))
    (place / "sent.wav").write_bytes(whole)
    return Case(kind="", arguments=("-", "--query", "a dog"), expected=RIGHT, stdin=whole,
                sounds=(place / "sent.wav",))  # fmt: skip


def _bad_pipe(draw, place):
    whole = sound(draw)
    data = [
        b"", b"hello", whole[: int(draw.integers(1, 44))], whole[:-7], draw.bytes(900), header(data=10**9),
        header(rate=0, data=80) + bytes(80), header(channels=9999, data=80) + bytes(80),
        b"RIFF" + bytes(9000), sound(draw, form="FLAC"),
        header(tag=3, bits=32, data=8) + np.float32([0, np.nan]).tobytes(),
    ][int(draw.integers(11))]  # fmt: skip
    more = () if draw.random() < 0.8 else ("--rate", "8000", "--channels", "2", "--encoding", "s24le")
    expected = REFUSED if not more else EITHER
    return Case(kind="", arguments=("-", "--query", "a dog", *more), expected=expected, stdin=data)


KINDS: dict[str, Callable] = {
    **hostile_sounds.KINDS,
    "name": _name,
    "sentence": _sentence,
    "wrong sentence": _wrong_sentence,
    "many queries": _many_queries,
    "no file": _no_file,
    "unreadable": _unreadable,
    "odd path": _odd_path,
    "links in circles": _folder_in_circles,
    "some fail": _some_fail,
    "out": _out,
    "damaged record": _damaged_record,
    "place of a record": _place_of_record,
    "pipe": _piped,
    "bad pipe": _bad_pipe,
}
