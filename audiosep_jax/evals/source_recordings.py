"""The recording that a file was cut from."""

import re

# ESC-50 and its subsets: fold, freesound id, take, and mostly the class, such as 1-100032-A-0.wav.
_ESC = re.compile(r"\d+-(\d+)-[A-Z](-\d+)?\.\w+")


def recording_of(file: str) -> str:
    """Returns a name for the recording that a file was cut from; files of one recording share it.

    Names of ESC-50 hold the freesound id of the sound that several takes (A, B, C, …) were cut from. Any
    other file, with its folders, counts as a recording of its own.

    Examples:
      >>> recording_of("rain/1-17367-B.ogg"), recording_of("speech/p232_001.wav")
      ('17367', 'speech/p232_001.wav')
    """
    found = _ESC.fullmatch(re.split(r"[/\\]", file)[-1])
    return found[1] if found else file
