"""Ablations as data: a base config, its variations, several seeds, and one report of what they change."""
