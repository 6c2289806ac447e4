"""Captions for the fifty categories of ESC-50, written for this project.

ESC-10 has other names for some of the categories: see `category_of_folder`.
"""

import json
import re
from pathlib import Path

CAPTIONS: dict[str, tuple[str, ...]] = {
    category: tuple(captions)
    for category, captions in json.loads(
        Path(__file__).with_name("esc50_captions.json").read_text("utf-8")
    ).items()
}

_ESC10_FOLDERS = {
    "baby_cry": "crying_baby",
    "dog_bark": "dog",
    "fire_crackling": "crackling_fire",
    "person_sneeze": "sneezing",
}


def category_of_folder(name: str) -> str:
    """Returns the ESC-50 category of an ESC-10 folder such as `dog_bark` or `001 - Dog bark`."""
    plain = re.sub(r"^\d+\s*-\s*", "", name).strip().lower().replace(" ", "_")
    return _ESC10_FOLDERS.get(plain, plain)


def captions_of(category: str) -> tuple[str, ...]:
    """Returns the captions of a category; for a category outside ESC-50, its name."""
    return CAPTIONS.get(category, (category.replace("_", " "),))
