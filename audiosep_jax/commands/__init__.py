"""The commands of `audiosep`, one module each; the command line imports them when they are called."""
