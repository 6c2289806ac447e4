import export_models
import pytest

from audiosep_jax.export import exporter


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A checkpoint folder of a small model with drawn BatchNorm statistics."""
    return export_models.save(tmp_path_factory.mktemp("checkpoint"), **export_models.MODELS["scale_shift"])


@pytest.fixture(scope="session")
def exported(checkpoint, tmp_path_factory):
    """An export per format, by name; tests copy an export before they change it."""
    place = tmp_path_factory.mktemp("exports")
    return {
        kind: exporter.export(checkpoint, place / kind, export_format=kind, window_seconds=0.1)
        for kind in ("stablehlo", "onnx", "safetensors")
    }
