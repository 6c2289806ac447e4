"""Captions for the fifty categories of ESC-50, written for this project.

ESC-10 has other names for some of the categories: see `category_of_folder`.
"""

import re

CAPTIONS: dict[str, tuple[str, ...]] = {
    "airplane": ("an airplane flying overhead", "the drone of an aircraft", "a plane passing by"),
    "breathing": ("a person breathing", "heavy breathing"),
    "brushing_teeth": ("someone brushing their teeth", "a toothbrush scrubbing"),
    "can_opening": ("a can being opened", "a beverage can cracking open with a hiss"),
    "car_horn": ("a car horn honking", "a vehicle honking"),
    "cat": ("a cat meowing", "a cat"),
    "chainsaw": ("a chainsaw running", "a chainsaw cutting wood", "the buzz of a chainsaw"),
    "chirping_birds": ("birds chirping", "birds singing", "birdsong"),
    "church_bells": ("church bells ringing", "the tolling of bells"),
    "clapping": ("people clapping", "applause"),
    "clock_alarm": ("an alarm clock ringing", "an alarm beeping"),
    "clock_tick": ("a clock ticking", "a ticking clock", "the tick tock of a clock"),
    "coughing": ("a person coughing", "someone coughs"),
    "cow": ("a cow mooing", "cattle mooing"),
    "crackling_fire": ("a crackling fire", "fire burning and crackling", "wood burning in a fireplace"),
    "crickets": ("crickets chirping", "insects chirping at night"),
    "crow": ("a crow cawing", "a crow calling"),
    "crying_baby": ("a baby crying", "an infant crying", "a crying baby"),
    "dog": ("a dog barking", "a dog", "the barking of a dog"),
    "door_wood_creaks": ("a wooden door creaking", "a creaky door"),
    "door_wood_knock": ("knocking on a wooden door", "someone knocking at the door"),
    "drinking_sipping": ("a person drinking", "someone sipping a drink"),
    "engine": ("an engine running", "an engine idling"),
    "fireworks": ("fireworks exploding", "fireworks"),
    "footsteps": ("footsteps", "someone walking"),
    "frog": ("a frog croaking", "frogs croaking"),
    "glass_breaking": ("glass breaking", "glass shattering"),
    "hand_saw": ("a hand saw cutting wood", "someone sawing wood"),
    "helicopter": ("a helicopter flying", "a helicopter", "the rotor blades of a helicopter"),
    "hen": ("a hen clucking", "a chicken clucking"),
    "insects": ("insects buzzing", "a fly buzzing"),
    "keyboard_typing": ("typing on a keyboard", "someone typing"),
    "laughing": ("a person laughing", "laughter"),
    "mouse_click": ("a computer mouse clicking", "mouse clicks"),
    "pig": ("a pig oinking", "a pig grunting"),
    "pouring_water": ("water being poured", "pouring water into a glass"),
    "rain": ("rain falling", "heavy rain", "the sound of rain"),
    "rooster": ("a rooster crowing", "a rooster", "a cock crowing"),
    "sea_waves": ("ocean waves", "waves crashing on the shore", "the sea"),
    "sheep": ("a sheep bleating", "sheep bleating"),
    "siren": ("a siren wailing", "an emergency siren"),
    "sneezing": ("a person sneezing", "someone sneezes", "a sneeze"),
    "snoring": ("a person snoring", "snoring"),
    "thunderstorm": ("thunder rumbling", "a thunderstorm"),
    "toilet_flush": ("a toilet flushing", "flushing a toilet"),
    "train": ("a train passing", "a train on the tracks"),
    "vacuum_cleaner": ("a vacuum cleaner running", "vacuuming"),
    "washing_machine": ("a washing machine running", "a washing machine spinning"),
    "water_drops": ("water dripping", "drops of water falling"),
    "wind": ("wind blowing", "the howling of the wind"),
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
