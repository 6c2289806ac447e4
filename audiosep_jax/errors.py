"""The one exception that is meant for the person in front of the screen."""


class AudioSepError(Exception):
    """A user's mistake or an unusable input.

    Its text is one clear sentence: what is wrong, where, and what to do about it. The command line
    prints it without a traceback and exits with status 2.
    """
