"""HTML pages: separations with players and spectrograms, training curves, evaluations per class."""
