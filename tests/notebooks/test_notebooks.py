"""Notebooks are kept without outputs, name no place of one machine, and run from top to bottom."""

import base64
import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_is_the_quickstart():
    assert "quickstart.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_kept_clean(path):
    notebook = json.loads(path.read_text("utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}
    assert not re.search(r"/home/|/root/|/tmp/|/Users/|C:\\\\", path.read_text("utf-8"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_files_named_in_notebooks_exist(path):
    text = "".join("".join(cell["source"]) for cell in json.loads(path.read_text("utf-8"))["cells"])
    for named in re.findall(r"\b((?:docs|experiments|notebooks)/[\w/]+\.\w+)", text):
        assert (ROOT / named).is_file(), named
    for clip in re.findall(r"\"(\w+\.ogg)\"", text):
        assert (ROOT / "audiosep_jax/assets/demo" / clip).is_file(), clip


@pytest.mark.extras
@pytest.mark.skipif(
    importlib.util.find_spec("nbclient") is None, reason="the extra notebook is not installed"
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's own packages
def test_the_quickstart_runs_from_top_to_bottom(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    before = sorted((ROOT / "notebooks").iterdir())
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    said = "".join(output.text for output in outputs if output.output_type == "stream")
    assert not [output for output in outputs if output.get("name") == "stderr"]
    shown = [output.data for output in outputs if "data" in output]
    pictures = [base64.b64decode(data["image/png"]) for data in shown if "image/png" in data]
    assert len(pictures) == 3
    assert min(map(len, pictures)) > 30_000
    players = [data["text/html"] for data in shown if "<audio" in data.get("text/html", "")]
    assert len(players) == 4
    assert float(re.search(r"SDRi: (-?[\d.]+) dB", said)[1]) > 3
    assert float(re.search(r"largest difference: (\S+)", said)[1]) < 1e-6
    assert float(re.search(r"sum - mixture: (\S+)", said)[1]) < 1e-6
    assert "step for step: True" in said
    assert re.search(r"warning: \"drums\" seems not to be in the recording", said)
    assert not re.search(r'warning: "(a dog barking|rain falling)"', said)
    assert float(re.search(r"latency: [\d.]+ s, SDR: (-?[\d.]+) dB", said)[1]) > 0
    assert list(tmp_path.iterdir()) == []
    assert sorted((ROOT / "notebooks").iterdir()) == before
