"""Measuring separation: metrics, fixed evaluation sets, tables, figures."""
