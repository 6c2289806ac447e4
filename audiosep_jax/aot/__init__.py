"""Compiles a train step for a chip that is not there, and reports memory, traffic, collectives and time."""
