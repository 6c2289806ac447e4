"""Scripts that do not import this project: those that run an export, and the one that tests it."""
