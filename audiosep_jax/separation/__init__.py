"""Separation as a user meets it: a recording and queries in, the described sounds and the rest out."""
