"""The trained head of a comparison that gives one class an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headstart.core.rows import take
from headstart.workflows.trained import training_hashes

if TYPE_CHECKING:
    from headstart.core.results import Comparison, HeadResult, OperatingPoints, PredictionSets
    from headstart.evaluation.compare import Entry, Outcome
    from headstart.evaluation.splits import Protocol
    from headstart.models.bundle import TrainedHead


def scores_of(comparison: Comparison, head: HeadResult | None = None) -> dict[str, Any]:
    """Return the test accuracy that a model file states; none if no test image is independent.

    It is that of the best head, or of the given one.
    """
    head = head or comparison.heads[0]
    if comparison.protocol["n_leaked"] == comparison.protocol["n_test"]:
        return {}
    return {"test_accuracy": head.test_accuracy, "test_accuracy_ci": head.test_accuracy_ci}


def rules_of(comparison: Comparison, entry: Entry) -> dict[str, Any]:
    """Return the model file's operating points and its rule of conformal sets, also for groups.

    ``entry`` is the head that ships, which those of the comparison belong to.
    """
    insights = comparison.insights
    rules = _promises(insights.operating_points, insights.prediction_sets, entry)
    groups = insights.group_answers
    if groups is not None and groups.operating_points is not None:
        own = _promises(groups.operating_points, groups.prediction_sets, entry)
        rules["groups"] = {"answer": groups.answer, **own}
    return rules


def _promises(
    operating: OperatingPoints | None, sets: PredictionSets | None, entry: Entry
) -> dict[str, Any]:
    rules: dict[str, Any] = {}
    if operating is not None:
        rules["operating_points"] = [
            {"target": point.target, "threshold": point.threshold, "share": point.share}
            for point in operating.points
            if point.reached
        ]
    if sets is not None:
        rules["prediction_sets"] = {
            "level": sets.level,
            "mass": sets.mass,
            "least": [sets.least[code] for code in entry.head.estimator.classes_],
        }
    return rules


def trained(outcome: Outcome, summary: dict[str, Any]) -> TrainedHead:
    """Return the best head with what its model file carries."""
    import numpy as np

    from headstart.models import bundle, novelty, profile

    best, rows = outcome.best, outcome.protocol
    data, train = best.data, rows.train
    features, group, codes = take(data.features, train), rows.group[train], data.label[train]
    answers, learned = best.head.out_of_fold, best.head.estimator.classes_
    reference = novelty.learn(features, codes, group, out_of_fold=answers)
    described = None
    if len(answers):  # a fine-tuned network has none: it has seen its training images
        shares = np.bincount(codes, minlength=len(data.classes))[learned] / len(codes)
        described = profile.learn(features, shares, group, reference, answers[:, learned])
    return bundle.TrainedHead(
        best.head.estimator,
        data.classes,
        summary,
        reference,
        best.head.name,
        training_hashes(data, train),
        profile=described,
    )


def tuned(entry: Entry, rows: Protocol, summary: dict[str, Any]) -> TrainedHead:
    """Return the classifier of a fine-tuned network with what its model file carries.

    It has no reference images: a network that was trained on images brings them closer together
    than it brings new ones.
    """
    from headstart.models import bundle

    data = entry.data
    estimator, seen = entry.head.estimator, training_hashes(data, rows.train)
    return bundle.TrainedHead(estimator, data.classes, summary, trained_on=seen)
