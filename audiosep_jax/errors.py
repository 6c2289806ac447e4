"""The errors of this package, one class per kind of cause, and how their messages show names."""

import signal
from collections.abc import Iterable

_MOST_NAMES = 5


class AudioSepError(Exception):
    """A mistake of the user, or an input that cannot be used; the base class of this package's errors.

    Its text is one line: what is wrong, where, and what to do. The command line prints it without a
    traceback and exits with `status`.
    """

    status = 2


class UsageError(AudioSepError):
    """A wrong argument of a command or function, or arguments that exclude each other."""


class AudioFileError(AudioSepError):
    """A sound file or audio pipe that cannot be found, read, decoded or written."""


class WaveformError(AudioSepError):
    """A waveform whose samples, shape or sample rate cannot be used."""


class QueryError(AudioSepError):
    """A query that cannot be used: its text, example recording, image or condition vector."""


class SeparationError(AudioSepError):
    """A separation that cannot start or continue."""


class CheckpointError(AudioSepError):
    """A file or folder of weights, on disk or on the hub, that is missing, damaged or of another model."""


class EncoderError(AudioSepError):
    """A query encoder whose files are missing or damaged, or which does not fit the model."""


class ConfigError(AudioSepError):
    """A config, or a file that defines one, with a missing, unknown or unusable value."""


class DatasetError(AudioSepError):
    """A corpus or a prepared dataset that is missing, incomplete or damaged."""


class EvaluationError(AudioSepError):
    """An evaluation set, a benchmark's list of mixtures or a result that cannot be used."""


class TrainingError(AudioSepError):
    """A training run that cannot start or continue."""


class SweepError(AudioSepError):
    """A sweep that cannot start or continue."""


class ExportError(AudioSepError):
    """An export that cannot be made or used, or whose results differ from the model's."""


class ReportError(AudioSepError):
    """A report that cannot be made from the given results."""


class PageError(AudioSepError):
    """A request that the web page cannot serve."""


class DeviceError(AudioSepError):
    """A device that cannot be used, or a program that cannot be compiled for it."""


class StorageError(AudioSepError):
    """A file or folder that cannot be written, or that another process has locked."""


class MissingPackageError(AudioSepError):
    """An optional package that is not installed."""


class TransientError(AudioSepError):
    """A failure that may pass by itself, such as a late host: the same command may succeed next time.

    Its exit status is one on which launchers start a training again.
    """

    status = 1


class Stopped(KeyboardInterrupt):
    """A signal stopped the work; the same command resumes it.

    Args:
      number: of the signal; the command line exits with 128 + `number`, as shells do.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def printable(text: object) -> str:
    """Returns a path or text for a one-line message; one with control characters is escaped and quoted."""
    whole = str(text)
    return whole if whole.isprintable() else repr(whole)


def shown(text: object, *, longest: int = 200) -> str:
    """Returns untrusted text for a one-line message: cut, and escaped if it holds control characters.

    Args:
      text: a text, or an exception that may quote one.
      longest: number of characters that are kept.

    Examples:
      >>> print(shown("a name", longest=4))
      a na…
    """
    whole = str(text)
    kept = whole if len(whole) <= longest else f"{whole[:longest]}…"
    return printable(kept)


def listed(names: Iterable[object], *, separator: str = ", ") -> str:
    """Returns names for a one-line message: at most five of them, and how many more there are.

    Examples:
      >>> listed("abc")
      'a, b, c'
      >>> listed(range(170))
      '0, 1, 2, 3, 4 and 165 more'
    """
    texts = [str(name) for name in names]
    more = f" and {len(texts) - _MOST_NAMES} more" if len(texts) > _MOST_NAMES else ""
    return separator.join(texts[:_MOST_NAMES]) + more
