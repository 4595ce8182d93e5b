"""Splits, metrics, comparisons, duplicates and label errors."""
