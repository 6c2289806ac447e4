"""Corpora of mixtures that nobody has, drawn from labelled clips and the same bytes for everyone."""
