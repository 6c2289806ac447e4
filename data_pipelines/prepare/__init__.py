"""Builds a dataset: reads and encodes clips and writes shards, on this machine or on Beam; can resume."""
