"""The benchmarks of the literature: lists of mixtures, measuring them at scale, tables and comparisons."""
