"""The choice of the features that heads read: as they are, or their square roots."""

from __future__ import annotations

import dataclasses

import numpy as np

from headstart.core.parallel.blas import run_parallel
from headstart.heads import calibration, kernel_ridge, sampling
from headstart.heads.training_set import TrainingSet, mean_squared_distance

ROWS = 2000  # that the choice is made on
ALPHA = 0.1


def choose(data: TrainingSet) -> TrainingSet:
    """Return the training set, with square roots if they are better for a quick classifier.

    The classifier is kernel ridge regression, whose out-of-fold answers take one inverse. The
    comparison is of their log loss after scaling, which is steadier than accuracy on few images.
    """
    rows = sampling.sample(data, ROWS)
    part = data.part(rows) if len(rows) < len(data.labels) or data.streamed else data
    part = dataclasses.replace(part, fold=np.atleast_2d(part.fold)[:1])
    both = [dataclasses.replace(part, square_root=each) for each in (False, True)]
    plain, roots = run_parallel(_loss, both, data.workers)
    return dataclasses.replace(data, square_root=roots < plain)


def _loss(data: TrainingSet) -> float:
    params = {"alpha": ALPHA, "gamma": 1.0 / mean_squared_distance(data.rows)}
    parts = kernel_ridge.left_out(params, data)
    return calibration.least_loss(calibration.SCORES, parts, data)
