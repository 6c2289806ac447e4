"""The pages for people: links, anchors, paths and names in them exist, and their lists are complete."""

import importlib
import re
from pathlib import Path

import pytest

import audiosep_jax
from audiosep_jax import errors

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *DOCS.glob("*.md"),
        *(ROOT / "audiosep_jax" / "assets").glob("*/*.md"),
    ]
)


def ids(page):
    return str(page.relative_to(ROOT))


def prose(page):
    """The text of a page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_rows_of_a_table_have_its_columns(page):
    columns = None
    for line in prose(page).splitlines():
        if not line.startswith("|"):
            columns = None
            continue
        found = len(re.findall(r"(?<!\\)\|", line))
        columns = columns or found
        assert found == columns, line


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_named_files_exist(page):
    """Every path of this repository's sources that stands in backquotes."""
    tops = "audiosep_jax|data_pipelines|experiments|benchmarks|tests|docs|notebooks"
    rooms = "|".join(path.name for path in (ROOT / "audiosep_jax").iterdir() if path.is_dir())
    for name in re.findall(
        rf"`((?:{tops}|{rooms})/[\w/]+\.(?:py|md|json|csv|ipynb))", page.read_text("utf-8")
    ):
        assert (ROOT / name).exists() or (ROOT / "audiosep_jax" / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_named_python_names_exist(page):
    for name in re.findall(
        r"`((?:audiosep_jax|data_pipelines|benchmarks)(?:\.\w+)+)", page.read_text("utf-8")
    ):
        parts = name.split(".")
        for count in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:count]))
                break
            except ModuleNotFoundError:
                continue
        else:
            pytest.fail(name)
        for part in parts[count:]:
            found = getattr(found, part)


def test_python_modules_that_are_run_exist():
    for page in PAGES:
        for name in re.findall(r"python -m ((?:benchmarks|experiments|docs)[\w.]+)", page.read_text("utf-8")):
            assert (ROOT / (name.rstrip(".").replace(".", "/") + ".py")).is_file(), (page, name)


def test_the_index_lists_every_guide():
    listed = set(re.findall(r"\]\((\w+\.md)\)", (DOCS / "README.md").read_text("utf-8")))
    assert listed == {page.name for page in DOCS.glob("*.md")} - {"README.md"}


def test_the_readme_is_short_and_starts_with_the_essentials():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 150
    first = text.partition("\n## ")[0]
    for part in ("pip install", "```python", "audiosep separate", "audiosep-open", "]("):
        assert part in first, part


def test_the_table_of_errors_is_complete():
    kinds = re.findall(r"^\| `(\w+)` \|", (DOCS / "errors.md").read_text("utf-8"), re.MULTILINE)
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.AudioSepError)
    }
    assert len(kinds) == len(set(kinds))
    assert set(kinds) == defined
    assert defined <= set(audiosep_jax.__all__)


def test_contributing_lists_every_room_and_make_target():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rooms = re.findall(r"^\| `([\w/]+)(?:/|\.py)` \|", text, re.MULTILINE)
    source = (ROOT / "tests" / "test_architecture.py").read_text("utf-8")
    listed = re.findall(r'"([\w.]+)"', source.partition("ROOMS = (")[2].partition(")")[0])
    assert [room.removeprefix("audiosep_jax/").replace("/", ".") for room in rooms] == listed
    targets = re.findall(r"^(test[a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert all(f"`make {target}`" in text for target in targets)
