"""The mean of heads for several labels, as one more head; see `headstart.heads.mean`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from headstart.heads import MEAN
from headstart.heads.multilabel.family import FittedLabels, Trials, gathered
from headstart.heads.multilabel.label_set import UNKNOWN, LabelSet


def combine(heads: Sequence[FittedLabels], data: LabelSet) -> FittedLabels:
    """Return the mean of two or more heads that were fitted on ``data``.

    Its ``params`` name the ``heads``. Images that some head does not answer, because it was fitted
    on a sample, do not count.
    """
    from headstart.heads.multilabel.classifier import MeanClassifier

    started = time.perf_counter()
    parts = np.mean([head.parts for head in heads], axis=0)
    labels = data.labels.copy()
    labels[data.held_out[np.isnan(parts).any(axis=1)]] = UNKNOWN
    scores = Trials(dataclasses.replace(data, labels=labels)).scores(parts)
    return FittedLabels(
        name=MEAN,
        title="mean of the heads",
        params={"heads": ", ".join(head.name for head in heads)},
        cv_score=round(float(np.mean(scores)), 12),
        cv_std=float(np.std(scores)),
        grid=[],
        estimator=MeanClassifier([head.estimator for head in heads]),
        seconds=time.perf_counter() - started,
        out_of_fold=gathered(data, parts),
        parts=parts,
        n_rows=min(head.n_rows for head in heads),
        approximation="; ".join(
            f"{head.name}: {head.approximation}" for head in heads if head.approximation
        ),
    )
