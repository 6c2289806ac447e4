"""The options that were given to a command."""

import dataclasses
from collections.abc import Container
from typing import Any


def given_flags(args: Any, *, without: Container[str]) -> list[str]:
    """Returns the flags of all fields that differ from their default, except for those in `without`."""
    return [
        "--" + field.name.replace("_", "-")
        for field in dataclasses.fields(args)
        if field.name not in without and getattr(args, field.name) != field.default
    ]
