from pathlib import Path

import pytest
from pipelines_sounds import prepared, write_folder


@pytest.fixture(scope="session")
def tones(tmp_path_factory) -> Path:
    """A folder of 12 tones of 2 to 3.1 s, four labels, and clips.csv."""
    return write_folder(tmp_path_factory.mktemp("tones") / "source")


@pytest.fixture(scope="session")
def dataset(tones, tmp_path_factory) -> Path:
    """The tones, prepared."""
    return prepared(tones, tmp_path_factory.mktemp("prepared") / "tones")
