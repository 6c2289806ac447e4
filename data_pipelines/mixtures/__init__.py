"""The grain pipeline: prepared clips in, batches of mixtures with their conditions out."""
