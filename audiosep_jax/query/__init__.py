"""Frozen query towers: a sentence in, a condition vector out, computed once per caption."""
