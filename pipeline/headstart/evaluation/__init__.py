"""From rows to numbers one may believe: splits, metrics, comparisons, duplicates, label errors."""
