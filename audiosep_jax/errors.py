"""The errors of this package, each for a kind of cause, and the signals that end a command."""

import signal
from collections.abc import Iterable

_MOST_NAMES = 5


class AudioSepError(Exception):
    """A mistake of the user, or an input that cannot be used; every error of this package is one.

    Its text is one clear sentence: what is wrong, where, and what to do about it. The command line
    prints it without a traceback and exits with `status`.
    """

    status = 2


class UsageError(AudioSepError):
    """Arguments of a command or of a function that are wrong or do not go together."""


class AudioFileError(AudioSepError):
    """A file or pipe of sound that cannot be found, read, decoded or written."""


class WaveformError(AudioSepError):
    """Samples, a shape or a sample rate that cannot be used."""


class QueryError(AudioSepError):
    """A sentence, an example or a condition that describes no sound."""


class SeparationError(AudioSepError):
    """A separation that cannot start or go on."""


class CheckpointError(AudioSepError):
    """A file or folder of weights, here or on the hub, that is missing, damaged or of another model."""


class EncoderError(AudioSepError):
    """A query encoder whose files are missing or damaged, or that does not fit the model."""


class ConfigError(AudioSepError):
    """A field of a config, or a file that defines one, with a value that cannot be used."""


class DatasetError(AudioSepError):
    """A corpus or a prepared dataset that is missing, incomplete or damaged."""


class EvaluationError(AudioSepError):
    """An evaluation set, a benchmark's list or a result that cannot be used."""


class TrainingError(AudioSepError):
    """A training run that cannot start or go on."""


class SweepError(AudioSepError):
    """A sweep that cannot start or go on."""


class ExportError(AudioSepError):
    """An export that cannot be made, or that does not compute what the model computes."""


class ReportError(AudioSepError):
    """A report that cannot be drawn from what it was given."""


class PageError(AudioSepError):
    """A request to the page that it cannot serve."""


class DeviceError(AudioSepError):
    """A device, or a program compiled for one, that cannot be used."""


class StorageError(AudioSepError):
    """A place that cannot be written, or that another process holds."""


class MissingPackageError(AudioSepError):
    """An optional package that is not installed."""


class TransientError(AudioSepError):
    """A failure that may pass by itself, such as a host that is late: started again, the same may succeed.

    The exit status is one on which launchers start a training again.
    """

    status = 1


class Stopped(KeyboardInterrupt):
    """A signal came, and the work has ended where it can go on later.

    Args:
      number: of the signal; the command line exits with 128 more, as a shell says it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def printable(text: object) -> str:
    """Returns a path or text for an error's one line: as it is, or quoted where it would break it."""
    whole = str(text)
    return whole if whole.isprintable() else repr(whole)


def shown(text: object, *, longest: int = 200) -> str:
    """Returns what a stranger wrote, for an error's one line: cut, and escaped where a terminal would obey.

    Args:
      text: a text, or an exception that may quote one.
      longest: characters that are kept.
    """
    whole = str(text)
    kept = whole if len(whole) <= longest else f"{whole[:longest]}…"
    return printable(kept)


def listed(names: Iterable[object], *, separator: str = ", ") -> str:
    """Returns at most five names for an error's one line, and how many more there are.

    Examples:
      >>> listed("abc")
      'a, b, c'
      >>> listed(range(170))
      '0, 1, 2, 3, 4 and 165 more'
    """
    texts = [str(name) for name in names]
    more = f" and {len(texts) - _MOST_NAMES} more" if len(texts) > _MOST_NAMES else ""
    return separator.join(texts[:_MOST_NAMES]) + more
