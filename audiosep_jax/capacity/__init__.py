"""What a training needs of a TPU that is not there: memory, traffic, collectives, time."""
