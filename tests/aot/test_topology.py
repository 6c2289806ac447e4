import importlib.util
import os

import pytest

from audiosep_jax.aot import topology
from audiosep_jax.aot.chips import CHIPS
from audiosep_jax.errors import AudioSepError


def test_names_are_chip_and_sides():
    assert topology.parse_topology("v5e:2x4") == (CHIPS["v5e"], (2, 4))
    assert topology.parse_topology("v5p=2x2x4") == (CHIPS["v5p"], (2, 2, 4))
    assert topology.parse_topology("trillium:16x16") == (CHIPS["v6e"], (16, 16))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5e", r"'v5e' is not CHIP:SIDES: write for example v5e:2x2"),
        ("v5e-16", r"'v5e-16' is not CHIP:SIDES"),
        ("v5e:2x2x", r"is not CHIP:SIDES"),
        ("v9:2x2", r"'v9:2x2': there is no TPU 'v9' in the table: choose one of v4, v5e"),
        ("v5e:2x2x1", r"a slice of v5e has 2 sides, as in v5e:2x4"),
        ("v4:2x2", r"a slice of v4 has 3 sides, as in v4:2x2x2"),
        ("v5e:0x2", r"a slice of v5e has 2 sides"),
    ],
)
def test_a_wrong_name_is_told_with_an_example(name, message):
    with pytest.raises(AudioSepError, match=message):
        topology.make_topology(name)


def test_a_missing_compiler_is_told_with_its_extra(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "libtpu" else find(name))
    with pytest.raises(AudioSepError, match=r"not installed: pip install 'audiosep_jax\[tpu\]'"):
        topology.make_topology("v5e:2x2")


def test_the_devices_of_this_machine():
    local = topology.make_topology("local")
    assert local.chip is None
    assert local.chips == len(local.devices) >= 1


def test_jax_is_kept_off_the_devices(monkeypatch):
    monkeypatch.setattr(os, "environ", {"JAX_PLATFORMS": "tpu"})
    topology.prepare_environment("local")
    assert os.environ == {"JAX_PLATFORMS": "tpu"}
    topology.prepare_environment("v5e:2x2")
    assert os.environ["JAX_PLATFORMS"] == "cpu"
    assert os.environ["TPU_SKIP_MDS_QUERY"] == "1"
