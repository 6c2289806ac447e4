"""Helpers that know nothing of sound: atomic files, locks, JSON, signals, the compilation cache."""
