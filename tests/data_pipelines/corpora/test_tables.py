import os
import unicodedata

import pytest
from corpus_folders import table, text

from audiosep_jax.errors import AudioSepError
from data_pipelines.corpora import licences, youtube
from data_pipelines.corpora.label_text import caption_of
from data_pipelines.corpora.tables import FileIndex, encoding_of, find_file, merge, read_csv, read_json
from data_pipelines.mixtures.clips import ClipRow


def lines(path, **options):
    return list(read_csv(path, **options).lines)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_a_table_without_header_has_comments_spaces_and_quotation_marks(tmp_path):
    text(tmp_path / "t.csv", '# made by hand\r\n# a, b\r\nx, "1,2"\r\n\r\ny, "say ""ah"""\r\n')
    found = lines(tmp_path / "t.csv", columns=("a", "b"), comment="#", spaced=True)
    assert found == [(3, {"a": "x", "b": "1,2"}), (5, {"a": "y", "b": 'say "ah"'})]


def test_a_header_may_begin_with_a_byte_order_mark_and_lines_may_be_longer(tmp_path):
    text(tmp_path / "t.csv", "\ufefffile,caption\na.wav,rain,more\n")
    assert lines(tmp_path / "t.csv", required=("file",)) == [(2, {"file": "a.wav", "caption": "rain"})]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"a,b\n1,2\n", {"required": ("c",)}, r"t\.csv lacks the column\(s\) c and has a, b: give"),
        (b"", {"required": ("c",)}, r"lacks the column\(s\) c and has none"),
        (b"a,b\n1,2\n3, \n", {"required": ("a", "b")}, r"t\.csv, line 3 is incomplete: it has no b"),
        (b"1,2,3\n", {"columns": ("a", "b")}, r"line 1 has 3 fields where 2 are needed \(a, b\)"),
        (b"a\n\xff\n", {}, r"t\.csv is not a readable CSV table"),
        (b'a\n"' + b"x" * 200_000 + b'"\n', {}, r"t\.csv is not a readable CSV table \(field larger"),
    ],
)
def test_a_faulty_table_is_refused_with_the_line(tmp_path, content, options, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(AudioSepError, match=message):
        lines(tmp_path / "t.csv", **options)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AudioSepError, match=r"t\.csv does not exist: give the table"):
        lines(tmp_path / "t.csv", what="the table")
    with pytest.raises(AudioSepError, match="Is a directory"):
        lines(tmp_path)
    with pytest.raises(AudioSepError, match=r"t\.json does not exist"):
        read_json(tmp_path / "t.json", what="the list")
    text(tmp_path / "t.json", "[1,")
    with pytest.raises(AudioSepError, match=r"t\.json is not a readable JSON file .*: give the list"):
        read_json(tmp_path / "t.json", what="the list")


def test_a_table_that_is_not_utf_8_is_latin_1(tmp_path):
    text(tmp_path / "a.csv", "naïve\n")
    text(tmp_path / "b.csv", "naïve\n", encoding="latin-1")
    assert [encoding_of(tmp_path / name) for name in ("a.csv", "b.csv")] == ["utf-8-sig", "latin-1"]
    assert lines(tmp_path / "b.csv", columns=("a",), encoding="latin-1") == [(1, {"a": "naïve"})]


def test_the_first_folder_that_has_a_file_counts(tmp_path):
    touch(tmp_path, "b/t.csv", "c/t.csv")
    assert find_file(tmp_path, "t.csv", "a", "b", "c") == tmp_path / "b" / "t.csv"
    assert find_file(tmp_path, "u.csv", "a", "b") is None


def test_files_are_found_by_name_and_the_lossless_one_first(tmp_path):
    touch(tmp_path, "x/a.mp3", "y/a.flac", "z/a.FLAC", "b.WAV", "c.txt", "d.tar.wav")
    files = FileIndex(tmp_path)
    assert files.first(["nothing", "a"]) == "y/a.flac"
    assert files.find("a", folder="z") == "z/a.FLAC"
    assert files.find("b") == "b.WAV"
    assert files.find("d.tar") == "d.tar.wav"
    assert files.find("c") is files.find("a", folder="w") is None
    assert "x/a.mp3" in files
    assert "x/a.wav" not in files


def test_an_accent_may_be_a_character_of_its_own(tmp_path):
    touch(tmp_path, unicodedata.normalize("NFD", "café.wav"))
    found = FileIndex(tmp_path).find(unicodedata.normalize("NFC", "café"))
    assert found
    assert (tmp_path / found).is_file()


def test_links_are_followed_but_not_in_a_circle(tmp_path):
    touch(tmp_path / "elsewhere", "a.wav")
    source = tmp_path / "source"
    source.mkdir()
    (source / "linked").symlink_to(tmp_path / "elsewhere")
    (source / "itself").symlink_to(source)
    assert dict(FileIndex(source)) == {"a": "linked/a.wav"}


def test_a_folder_is_walked_once_and_no_file_is_opened(tmp_path, monkeypatch):
    touch(tmp_path, *(f"{folder}/{name}.wav" for folder in "abc" for name in range(40)))
    calls = []
    for name in ("stat", "lstat"):
        plain = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda path, *a, _plain=plain, **k: calls.append(path) or _plain(path, *a, **k)
        )
    files = FileIndex(tmp_path)
    assert sum(files.find(str(name)) is not None for name in range(40)) == 40
    assert not [path for path in calls if str(path).endswith(".wav")]


def test_names_of_files_from_youtube():
    known = set(youtube.stems("Yabcdefghi-", start=30, end=40))
    assert known > {
        "Yabcdefghi-",
        "YYabcdefghi-",
        "Yabcdefghi-_30",
        "Yabcdefghi-_30_40",
        "Yabcdefghi-_30-40",
        "Yabcdefghi-_30.0_40.0",
        "Yabcdefghi-_30.000_40.000",
        "Yabcdefghi-_30000_40000",
        "Yabcdefghi-_000030",
        "YYabcdefghi-_000030_000040",
    }
    assert not {"Yabcdefghi-", "YYabcdefghi-"} & set(
        youtube.stems("Yabcdefghi-", start=30, end=40, timeless=False)
    )
    assert "abcdefghijk_1.5_11.5" in set(youtube.stems("abcdefghijk", start=1.5, end=11.5))


def test_captions_of_class_names():
    assert caption_of(["Speech", "Domestic animals, pets"]) == "speech, domestic animals, pets"
    assert caption_of(["Middle Eastern music"]) == "Middle Eastern music"
    assert caption_of(["Telephone dialing, DTMF"]) == "telephone dialing, DTMF"
    assert caption_of(["Scratching (performance technique)"]) == "scratching (performance technique)"
    assert caption_of(["acoustic_guitar"]) == "acoustic guitar"


def test_lines_of_one_file_are_joined_unless_they_disagree():
    one = ClipRow(file="a.wav", captions=("x",), label="cello", source="1")
    two = ClipRow(file="a.wav", captions=("y", "x"), label="violin", source="1")
    both = merge(one, two, "line 2")
    assert (both.captions, both.label, both.labels) == (("x", "y"), "cello", ("cello", "violin"))
    assert merge(one, one, "line 2") == one
    with pytest.raises(AudioSepError, match=r"^line 2 names a\.wav again with another source or split"):
        merge(one, ClipRow(file="a.wav", captions=("y",), source="2"), "line 2")


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://creativecommons.org/publicdomain/zero/1.0/", "cc0"),
        ("https://creativecommons.org/licenses/by/4.0/", "by"),
        ("http://creativecommons.org/licenses/by-nc/3.0/", "by-nc"),
        ("http://creativecommons.org/licenses/sampling+/1.0/", "sampling+"),
        ("unknown", "unknown"),
    ],
)
def test_kinds_of_licences(url, kind):
    assert licences.kind_of(url) == kind


def test_a_table_written_by_python_is_read_back(tmp_path):
    odd = 'say "ah", twice\nand again'
    table(tmp_path / "t.csv", "file,caption", ("a.wav", odd), ("b.wav", "=1+1"))
    assert [line["caption"] for _, line in lines(tmp_path / "t.csv")] == [odd, "=1+1"]
