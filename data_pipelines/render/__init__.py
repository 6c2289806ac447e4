"""Renders corpora of mixtures from labelled clips, the same bytes for everyone."""
