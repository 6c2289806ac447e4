"""The separator for inference: folded norms, strips that fit the cache, Winograd convolutions."""
