"""If JAX moves what `jax_internals` imports from `jax._src`, a test here says what stops working."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import audiosep_jax
from audiosep_jax.train import jax_internals

SLURM = {f"SLURM_{name}": "1" for name in ("JOB_ID", "STEP_NODELIST", "NTASKS", "PROCID", "LOCALID")}
PROGRAM = """
import socket
import jax
from audiosep_jax.train import jax_internals

assert jax_internals.store() is None
with socket.socket() as free:
    free.bind(("localhost", 0))
    address = f"localhost:{free.getsockname()[1]}"
jax.distributed.initialize(address, num_processes=1, process_id=0)
store = jax_internals.store()
try:
    store.key_value_try_get("a")
except Exception as error:
    assert "NOT_FOUND" in str(error), error
store.key_value_set("a", "2 words")
assert store.key_value_try_get("a") == "2 words"
assert store.key_value_increment("b", 1) == 1
assert store.key_value_increment("b", 0) == 1
"""


def test_the_store_of_a_run():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (
        "train/shutdown.py cannot tell the other processes that one has failed: they would wait in a "
        f"collective operation for five minutes.\n{done.stderr}"
    )


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, False), (SLURM, True)],
)
def test_the_detection_of_clusters(monkeypatch, variables, expected):
    for name in (*SLURM, "KUBERNETES_SERVICE_HOST", "OMPI_MCA_orte_hnp_uri"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert jax_internals.in_a_cluster() == expected, (
        "train/distributed.py cannot tell a program of its own from one of a cluster that used JAX too early."
    )


def test_no_other_module_imports_from_jax_src():
    root = Path(audiosep_jax.__file__).parents[1]
    own = Path(inspect.getfile(jax_internals))
    folders = ("audiosep_jax", "data_pipelines", "experiments", "benchmarks", "tests")
    files = {file for folder in folders for file in (root / folder).rglob("*.py")} - {own, Path(__file__)}
    assert not [file for file in files if "jax._src" in file.read_text("utf-8")]
