"""Where the files of a query tower come from, and how they are read."""

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiosep_jax.errors import AudioSepError, EncoderError

HUGGING_FACE_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def find_folder(source: str, *, files: Sequence[str], required: Sequence[str]) -> Path:
    """Returns the folder that a source stands for, downloading a Hugging Face model if need be.

    Args:
      source: a folder, or a Hugging Face id such as `sentence-transformers/all-MiniLM-L6-v2`.
      files: names of the files that may be needed; nothing else is downloaded.
      required: those of them without which the folder is useless.

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
        folder = _download(source, files=files, required=required)
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


class TensorFile(Mapping[str, np.ndarray]):
    """The tensors of a safetensors file, each read when it is asked for.

    Attributes:
      shapes: of all tensors, known without reading one.

    Raises:
      AudioSepError: the file is broken; the text names it.
    """

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self._path = path
        self._errors = (OSError, SafetensorError, TypeError)
        try:
            self._file = safe_open(path, framework="numpy")
            names = self._file.keys()
            self.shapes = {name: tuple(self._file.get_slice(name).get_shape()) for name in names}
        except self._errors as error:
            raise self._broken(error) from error

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.shapes:
            raise KeyError(name)
        try:
            return self._file.get_tensor(name)
        except self._errors as error:
            raise self._broken(error) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def _broken(self, error: Exception) -> AudioSepError:
        return EncoderError(
            f"{self._path} is not a whole safetensors file ({error}): download the model again."
        )


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Reads every tensor of a safetensors file; the error names the file."""
    return dict(TensorFile(path))


def _download(model_id: str, *, files: Sequence[str], required: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(model_id, allow_patterns=list(files), local_files_only=True))
    except OSError:
        pass
    else:
        # Somebody may have cached only a part of the model; then the rest is fetched below.
        if all((folder / name).is_file() for name in required):
            return folder
    try:
        return Path(snapshot_download(model_id, allow_patterns=list(files)))
    except RepositoryNotFoundError as error:
        raise EncoderError(
            f"{model_id!r} is neither a folder here nor a public model on Hugging Face: check the spelling."
        ) from error
    except Exception as error:  # whatever the HTTP library of the day raises without a network
        raise EncoderError(
            f"The model {model_id} is not in the Hugging Face cache and could not be downloaded "
            f"({type(error).__name__}): connect to the network, set HF_HOME to a cache that holds it, "
            "or give a folder with its files."
        ) from error
