"""CLIP: sentences and pictures in one common space."""
