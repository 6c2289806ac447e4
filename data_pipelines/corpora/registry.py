"""The datasets that `audiosep prepare` knows by name."""

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

from audiosep_jax.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """A builder ("module:class") that is not imported yet; `options` are those beside `ClipBuilder`'s."""

    target: str
    layout: str
    options: tuple[str, ...] = ()


DATASETS = {
    name: Dataset(**entry | {"options": tuple(entry["options"])})
    for name, entry in json.loads(Path(__file__).with_name("registry.json").read_text("utf-8")).items()
}

OPTIONS = tuple(dict.fromkeys(option for dataset in DATASETS.values() for option in dataset.options))
"""All arguments that only some builders take."""


def builder_class(name: str) -> type:
    """Imports the builder of a dataset."""
    module, _, cls = DATASETS[name].target.partition(":")
    return getattr(importlib.import_module(module), cls)


def check_options(name: str, options: dict[str, Any]) -> None:
    """Checks that a dataset's builder takes some arguments of `OPTIONS`.

    Raises:
      UsageError: an argument belongs to other datasets.
    """
    for option in options:
        if option not in DATASETS[name].options:
            owners = [other for other, dataset in DATASETS.items() if option in dataset.options]
            flag = "--" + option.replace("_", "-")
            raise UsageError(
                f"{flag} belongs to {', '.join(owners)} and means nothing for {name}: leave it out."
            )


def described() -> str:
    """Returns a line per dataset, for a help text."""
    width = max(map(len, DATASETS))
    return "\n".join(f"  {name:<{width}}  {dataset.layout}" for name, dataset in DATASETS.items())
