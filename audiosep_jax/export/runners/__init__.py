"""Scripts that know nothing of this project: those beside an export, and the one that tests it."""
