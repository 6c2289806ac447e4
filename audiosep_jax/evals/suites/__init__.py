"""The benchmarks of the literature: lists of mixtures, measurement at scale, tables, comparisons."""
