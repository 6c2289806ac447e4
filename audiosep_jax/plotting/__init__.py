"""Spectrograms, and the one style of all figures."""
