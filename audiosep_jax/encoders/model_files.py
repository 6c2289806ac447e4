"""Where the files of a query tower come from, and how they are read."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audiosep_jax.errors import EncoderError
from audiosep_jax.utils import hub_download, safetensors_file

HUGGING_FACE_ID = hub_download.MODEL_ID


def find_folder(source: str, *, files: Sequence[str], required: Sequence[str]) -> Path:
    """Returns the folder that a source stands for: a folder, or a Hugging Face id, which is downloaded.

    Only `files` are downloaded; without the `required` ones the folder is useless.

    Raises:
      AudioSepError: there is neither such a folder nor such a model, or a required file is absent.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        if not HUGGING_FACE_ID.fullmatch(source):
            raise EncoderError(
                f"{source!r} is neither a folder nor a Hugging Face id: give the folder that holds "
                f"{', '.join(required)}, or an id such as sentence-transformers/all-MiniLM-L6-v2."
            )
        found = hub_download.cached(source, files=files)
        # An interrupted download has cached only a part of the model.
        if found is None or not all((found / name).is_file() for name in required):
            instead = "a folder with its files"
            found = hub_download.downloaded(source, files=files, kind=EncoderError, instead=instead)
        folder = found
    absent = [name for name in required if not (folder / name).is_file()]
    if absent:
        raise EncoderError(f"{folder} has no {' and no '.join(absent)}: download the model again.")
    return folder


def packaged_folder(package: str, subfolder: str) -> Path | None:
    """Returns a folder inside an installed package without importing it, or None if it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / subfolder


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object; the error names the file."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} is not a readable JSON file: {error}.") from error
    if not isinstance(values, dict):
        raise EncoderError(f"{path} must hold a JSON object.")
    return values


class TensorFile(safetensors_file.TensorFile):
    """The tensors of a query encoder's file; an `EncoderError` says that it is damaged."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, kind=EncoderError, advice="download the model again")
