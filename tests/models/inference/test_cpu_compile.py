"""Programs for this processor compute what others do, and options that JAX does not know are left out."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiosep_jax.models.inference import cpu_compile


@pytest.fixture(autouse=True)
def without_avx512(monkeypatch):
    cpu_compile._options.cache_clear()
    monkeypatch.setattr(cpu_compile, "_has_avx512", lambda: False)
    monkeypatch.setattr(cpu_compile.platform, "machine", lambda: "x86_64")
    yield
    cpu_compile._options.cache_clear()


@pytest.mark.parametrize("avx512", [False, True])
def test_products_are_the_same(monkeypatch, avx512):
    monkeypatch.setattr(cpu_compile, "_has_avx512", lambda: avx512)
    left, right = (
        np.random.default_rng(seed).normal(size=(36, 64, 64)).astype(np.float32) for seed in (0, 1)
    )
    compiled = cpu_compile.jit(jnp.matmul).lower(left, right).compile()
    assert ("ynn" in compiled.as_text()) == avx512
    np.testing.assert_allclose(compiled(left, right), left @ right, atol=1e-4)


def test_an_option_unknown_to_jax_is_not_used(monkeypatch):
    monkeypatch.setattr(cpu_compile, "_EIGEN", {"xla_cpu_no_such_option": ""})
    assert cpu_compile._options() is None
    assert cpu_compile.jit(lambda x: x + 1)(1) == 2


def test_accelerators_get_no_option(monkeypatch):
    assert cpu_compile._options()
    cpu_compile._options.cache_clear()
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert cpu_compile._options() is None


def test_memory_is_returned_if_the_c_library_can(monkeypatch):
    called = []
    library = types.SimpleNamespace(malloc_trim=called.append)
    monkeypatch.setattr(cpu_compile.ctypes, "CDLL", lambda name: library)
    cpu_compile.return_memory()
    assert called == [0]
    del library.malloc_trim
    cpu_compile.return_memory()
