"""Separation of arrays, files and live sound by queries: the product of this package."""
