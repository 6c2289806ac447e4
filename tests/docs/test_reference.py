import ast
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import audiosep_jax
from docs.reference import PUBLIC

ROOT = Path(__file__).parents[2]


def parsed(name):
    return ast.parse(Path(importlib.util.find_spec(name).origin).read_text("utf-8"))


def members(name):
    """Yields (dotted name, node) of what a module defines and shows: functions, classes and their methods."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in parsed(name).body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield f"{name}.{node.name}", node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, kinds) and not inner.name.startswith("_"):
                        yield f"{name}.{node.name}.{inner.name}", inner


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_docstring(name):
    assert ast.get_docstring(parsed(name))
    assert not [member for member, node in members(name) if not ast.get_docstring(node)]


def test_every_name_of_the_package_has_a_docstring():
    for name in audiosep_jax.__all__:
        value = getattr(audiosep_jax, name)
        assert name == "__version__" or inspect.getdoc(value), name


class Page(HTMLParser):
    """Collects what a page shows under which anchor, and what it would load."""

    def __init__(self):
        super().__init__()
        self.anchors, self.loaded = set(), []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.add(attributes.get("id"))
        if tag in ("script", "img", "iframe") and "src" in attributes:
            self.loaded.append(attributes["src"])
        if tag == "link":
            self.loaded.append(attributes.get("href"))


@pytest.mark.extras
@pytest.mark.skipif(importlib.util.find_spec("pdoc") is None, reason="the extra reference is not installed")
def test_the_site_has_every_public_name_and_loads_nothing_external(tmp_path):
    command = [sys.executable, "-m", "docs.reference", "--out", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (built.returncode, built.stderr) == (0, "")
    assert built.stdout.strip() == str(tmp_path / "site" / "index.html")
    index = (tmp_path / "site" / "index.html").read_text("utf-8")
    missing = []
    for name in PUBLIC:
        path = name.replace(".", "/") + ".html"
        assert path in index
        page = Page()
        page.feed((tmp_path / "site" / path).read_text("utf-8"))
        assert all(not re.match(r"(?:\w+:)?//", source) for source in page.loaded), page.loaded
        module = importlib.import_module(name)
        shown = getattr(module, "__all__", None)
        for member, _ in members(name):
            anchor = member.removeprefix(f"{name}.")
            if anchor not in page.anchors and (shown is None or anchor.partition(".")[0] in shown):
                missing.append(member)
        missing += [f"{name}.{one}" for one in shown or () if one not in page.anchors and one[0] != "_"]
    assert not missing
    assert "separate_stems" in (tmp_path / "site" / "search.js").read_text("utf-8")
