"""Scores of classifiers of several labels and their uncertainty: pure functions of arrays.

Labels are ``(n, k) int8``: 1 if an image has the label, 0 if it does not, -1 if that is unknown,
which counts for nothing in that label. Probabilities are ``(n, k)``.
"""

from headstart.evaluation.metrics.multilabel.paired import compare_with
from headstart.evaluation.metrics.multilabel.resampling import Intervals, intervals
from headstart.evaluation.metrics.multilabel.scores import (
    FEW,
    LabelScores,
    few_positives,
    per_label,
    scores,
)
from headstart.evaluation.metrics.multilabel.thresholds import Rule, Thresholds, thresholds

__all__ = [
    "FEW",
    "Intervals",
    "LabelScores",
    "Rule",
    "Thresholds",
    "compare_with",
    "few_positives",
    "intervals",
    "per_label",
    "scores",
    "thresholds",
]
