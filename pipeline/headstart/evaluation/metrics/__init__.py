"""Scores of a classifier and their uncertainty: pure functions of arrays.

Labels are integer codes from 0, ``n`` is the number of images, at least 1, and ``k`` the number of
classes. `scores` has the scores, `intervals` and `calibration` their intervals, `paired` the
comparison of classifiers, and `design` what images of groups, and answers out of
fold, are worth in all of them.
"""

from headstart.core.proportions import wilson
from headstart.evaluation.metrics.calibration import Calibration, calibration
from headstart.evaluation.metrics.design import LEVEL, OUT_OF_FOLD
from headstart.evaluation.metrics.intervals import (
    Interval,
    accuracy_interval,
    class_intervals,
    score_intervals,
)
from headstart.evaluation.metrics.paired import PairedComparison, compare_with, holm, mcnemar
from headstart.evaluation.metrics.scores import (
    ECE_BINS,
    ClassScores,
    Reliability,
    class_scores,
    confusion,
    expected_calibration_error,
    reliability,
    roc_auc,
)
from headstart.heads.scoring import accuracy, log_loss, log_losses

__all__ = [
    "ECE_BINS",
    "LEVEL",
    "OUT_OF_FOLD",
    "Calibration",
    "ClassScores",
    "Interval",
    "PairedComparison",
    "Reliability",
    "accuracy",
    "accuracy_interval",
    "calibration",
    "class_intervals",
    "class_scores",
    "compare_with",
    "confusion",
    "expected_calibration_error",
    "holm",
    "log_loss",
    "log_losses",
    "mcnemar",
    "reliability",
    "roc_auc",
    "score_intervals",
    "wilson",
]
