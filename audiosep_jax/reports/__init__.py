"""Pages for people: separations to hear and see, training curves, results per class."""
