"""AudioSep in JAX/Flax: a recording and a sentence in, the described sound out."""
