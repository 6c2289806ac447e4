"""The place of the cache of compiled programs."""

import importlib.util
import os
from pathlib import Path

import pytest

from audiosep_jax.cli import main
from audiosep_jax.utils.xla_cache import use_cache


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """Restores the variables that `use_cache` sets."""
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return monkeypatch


def test_the_cache_lies_in_the_users_cache_folder(environment, tmp_path):
    use_cache()
    place = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    assert place.parent == tmp_path / "audiosep_jax"
    assert place.name.startswith("xla-")


@pytest.mark.parametrize("place", ["", "/elsewhere"])
def test_another_place_is_kept(environment, place):
    environment.setenv("JAX_COMPILATION_CACHE_DIR", place)
    use_cache()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == place


@pytest.mark.parametrize("installed", [True, False])
def test_a_bucket_needs_gcsfs(environment, installed, capsys):
    found = importlib.util.find_spec
    environment.setattr(
        importlib.util,
        "find_spec",
        lambda name: (object() if installed else None) if name == "gcsfs" else found(name),
    )
    environment.setenv("JAX_COMPILATION_CACHE_DIR", "gs://bucket/cache")
    status = main.main(["train", "nowhere.py", "--workdir", "nowhere"])
    error = capsys.readouterr().err
    assert status == 2
    assert ("nowhere.py does not exist" in error) == installed
    assert ("gs://bucket/cache, which needs the package gcsfs: pip install gcsfs." in error) != installed
