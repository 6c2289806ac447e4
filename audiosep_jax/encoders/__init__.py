"""Frozen query encoders: a sentence, a sound or a picture in, a condition vector out."""
