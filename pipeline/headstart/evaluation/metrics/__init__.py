"""Scores of a classifier and their uncertainty: pure functions of arrays.

Labels are integer codes from 0, ``n`` is the number of images, at least 1, and ``k`` the number of
classes. `scores` has the scores, `intervals` their bootstrap intervals and paired tests.
"""

from headstart.evaluation.metrics.intervals import (
    LEVEL,
    RESAMPLES,
    Interval,
    bootstrap_interval,
    mcnemar,
    paired_bootstrap,
    score_intervals,
)
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
    "RESAMPLES",
    "ClassScores",
    "Interval",
    "Reliability",
    "accuracy",
    "bootstrap_interval",
    "class_scores",
    "confusion",
    "expected_calibration_error",
    "log_loss",
    "log_losses",
    "mcnemar",
    "paired_bootstrap",
    "reliability",
    "roc_auc",
    "score_intervals",
]
