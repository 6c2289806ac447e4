"""Builds a dataset: reads and encodes clips, writes shards, resumes, on this machine or on Beam."""
