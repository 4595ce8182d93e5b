"""The trained head of a comparison that gives an image several labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.core.rows import take
from headstart.core.targets import MULTI_LABEL
from headstart.workflows.trained import training_hashes

if TYPE_CHECKING:
    from headstart.core.label_results import LabelComparison, LabelHeadResult
    from headstart.evaluation.compare.multilabel.stage import LabelOutcome
    from headstart.evaluation.compare.multilabel.training import LabelEntry
    from headstart.evaluation.splits import Protocol
    from headstart.models.bundle import TrainedHead


def scores_of(comparison: LabelComparison, head: LabelHeadResult | None = None) -> dict[str, Any]:
    """Return the test scores that a model file states; none if no test image is independent.

    They are those of the best head, or of the given one.
    """
    head = head or comparison.heads[0]
    if comparison.protocol["n_leaked"] == comparison.protocol["n_test"]:
        return {}
    return {
        "test_map": head.map,
        "test_map_ci": head.intervals.get("map"),
        "test_macro_f1": head.macro_f1,
    }


def rules_of(comparison: LabelComparison, entry: LabelEntry) -> dict[str, Any]:
    """Return nothing: the thresholds of labels are facts of the head."""
    return {}


def trained(outcome: LabelOutcome, summary: dict[str, Any]) -> TrainedHead:
    """Return the best head with what its model file carries."""
    from headstart.models import bundle, novelty, profile

    best, rows = outcome.best, outcome.protocol
    data, train = best.data, rows.train
    assert data.label_sets is not None
    present = data.label_sets[train] > 0
    # Reference images are drawn evenly from the labels: an image counts for its rarest one.
    rarest = np.where(present, present.sum(axis=0), len(train) + 1).argmin(axis=1)
    kinds = np.where(present.any(axis=1), rarest, present.shape[1])
    features, group = take(data.features, train), rows.group[train]
    reference = novelty.learn(features, kinds, group)
    annotated = np.maximum((data.label_sets[train] >= 0).sum(axis=0), 1)
    shares = present.sum(axis=0) / annotated
    return bundle.TrainedHead(
        best.head.estimator,
        data.classes,
        summary,
        reference,
        best.head.name,
        training_hashes(data, train),
        MULTI_LABEL,
        tuple(best.thresholds.tolist()),
        profile.learn(features, shares, group, reference),
    )


def tuned(entry: LabelEntry, rows: Protocol, summary: dict[str, Any]) -> TrainedHead:
    """Return the classifier of a fine-tuned network; see the function for one class an image."""
    from headstart.models import bundle

    return bundle.TrainedHead(
        entry.head.estimator,
        entry.data.classes,
        summary,
        trained_on=training_hashes(entry.data, rows.train),
        target=MULTI_LABEL,
        thresholds=tuple(entry.thresholds.tolist()),
    )
