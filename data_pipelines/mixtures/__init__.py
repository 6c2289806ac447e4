"""The grain pipeline: reads prepared clips and yields batches of mixtures with their conditions."""
