"""What ends a command: the exception that is meant for the person in front of the screen, and signals."""

import signal


class AudioSepError(Exception):
    """A user's mistake or an unusable input.

    Its text is one clear sentence: what is wrong, where, and what to do about it. The command line
    prints it without a traceback and exits with `status`.
    """

    status = 2


class PassingError(AudioSepError):
    """What no user has to repair, such as a host that is late: started again, the same may succeed.

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
