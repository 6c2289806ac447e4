"""Dataset builders (tfds, ArrayRecord) and the grain pipeline that turns clips into mixtures."""
