"""Scores of a classifier and how far they can be trusted: pure functions of arrays.

Class labels are integer codes from 0; ``n`` is the number of images and ``k`` the number of
classes. Every function needs at least one image. `scores` holds the figures, `intervals` what
another sample of images would do to them.
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
    balanced_accuracy,
    class_scores,
    confusion,
    expected_calibration_error,
    macro_f1,
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
    "balanced_accuracy",
    "bootstrap_interval",
    "class_scores",
    "confusion",
    "expected_calibration_error",
    "log_loss",
    "log_losses",
    "macro_f1",
    "mcnemar",
    "paired_bootstrap",
    "reliability",
    "roc_auc",
    "score_intervals",
]
