"""Scores and verdict of each head for several labels, from its probabilities on the test images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.core.label_results import LabelGroupScores, LabelHeadResult
from headstart.core.records import FeatureSet
from headstart.core.results import Remark
from headstart.evaluation import group_answers
from headstart.evaluation.compare.multilabel.division import label_sets
from headstart.evaluation.compare.multilabel.training import LabelEntry
from headstart.evaluation.compare.scoring import count_heads, name_heads, warn_of_better
from headstart.evaluation.group_answers import Grouping, ImageAnswers, Scored
from headstart.evaluation.metrics import OUT_OF_FOLD
from headstart.evaluation.metrics import multilabel as metrics
from headstart.evaluation.splits import Protocol

CURVE_POINTS = 60  # of a precision-recall curve
_HALF = 0.5


@dataclass(frozen=True)
class HeldOut:
    """The images that heads are scored on: ``labels`` are ``(n_test, k)``."""

    labels: NDArray[np.int8]
    group: NDArray[np.intp]
    leaked: NDArray[np.bool_]
    seed: int
    out_of_fold: bool

    @property
    def worth(self) -> float:
        """What an answer is worth, in answers for a test split; see `metrics.design.Design`."""
        return OUT_OF_FOLD if self.out_of_fold else 1.0

    @classmethod
    def of(cls, data: FeatureSet, protocol: Protocol, seed: int) -> HeldOut:
        """Return the scored images of a protocol."""
        test = protocol.test
        labels, group = label_sets(data)[test], protocol.group[test]
        return cls(labels, group, protocol.leaked, seed, protocol.out_of_fold)


def score_heads(entries: Sequence[LabelEntry], test: HeldOut) -> list[LabelHeadResult]:
    """Score every head, and compare each with the first one on the same images.

    The comparison is of macro average precision, paired; see `metrics.compare_with`.
    """
    best, *others = entries
    compared = metrics.compare_with(
        test.labels,
        best.probabilities,
        [entry.probabilities for entry in others],
        test.group,
        test.out_of_fold,
    )
    results = [_result(best, test, "best")]
    for entry, comparison in zip(others, compared, strict=True):
        side = "worse" if comparison.difference < 0 else "better"
        results.append(
            dataclasses.replace(
                _result(entry, test, side if comparison.decided else "tie"),
                difference=comparison.difference,
                difference_ci=comparison.interval,
                p=comparison.p,
            )
        )
    return results


def score_groups(
    entries: Sequence[LabelEntry],
    heads: Sequence[LabelHeadResult],
    test: HeldOut,
    grouping: Grouping,
) -> LabelGroupScores:
    """Score every head's answers for groups of the scored images."""
    titles = name_heads(heads, heads, "title")
    answers = [image_answers(*pair) for pair in zip(titles, entries, strict=True)]
    rules = Scored(test.group, test.leaked, test.worth, test.out_of_fold)
    return group_answers.score_labels(grouping, test.labels, answers, test.seed, rules)


def image_answers(title: str, entry: LabelEntry) -> ImageAnswers:
    """Return a head's answers for the scored images, for groups of them."""
    return ImageAnswers(title, entry.probabilities, entry.predicted, entry.thresholds)


def score_baselines(entries: Sequence[LabelEntry], test: HeldOut) -> list[LabelHeadResult]:
    """Score the baselines, which have no verdict."""
    return [_result(entry, test, "") for entry in entries]


def about_the_choice(results: Sequence[LabelHeadResult]) -> list[Remark]:
    """Return a warning if a head is measurably better on the test images than the chosen one."""
    better = name_heads([head for head in results if head.verdict == "better"], results, "title")
    return warn_of_better(better, results[0].title)


def conclude(results: Sequence[LabelHeadResult], test: HeldOut) -> str:
    """Return what to do with the verdicts, in a sentence; empty if every image leaked."""
    if test.leaked.all():
        return ""
    best, *others = results
    (use,) = name_heads([best], results)
    if not others:
        return f"Use {use}; no other head was trained."
    kinds = {verdict: [head for head in others if head.verdict == verdict] for verdict in _VERDICTS}
    if kinds["better"]:
        better = count_heads(kinds["better"], results)
        return f"Use {use}, or add images: {better} did better on the scored images."
    if not kinds["tie"]:
        worse = count_heads(kinds["worse"], results)
        return f"Use {use}: its mean average precision exceeds that of {worse} by more than chance."
    return (
        f"Use {use}, or choose between it and {count_heads(kinds['tie'], results)} by speed or"
        " size: their mean average precisions differ by no more than chance."
    )


_VERDICTS = ("tie", "worse", "better")


def _result(entry: LabelEntry, test: HeldOut, verdict: str) -> LabelHeadResult:
    head, probabilities = entry.head, entry.probabilities
    half = metrics.scores(test.labels, probabilities, np.full(len(entry.thresholds), _HALF))
    measured = measure(test.labels, probabilities, entry.applied, test.seed, test.group, test.worth)
    by_label = measured.pop("per_label")
    defined: dict[str, Any] = {
        name: 0.0 if value is None and name != "macro_auc" else value
        for name, value in measured.items()
    }
    return LabelHeadResult(
        **defined,
        name=head.name,
        title=head.title,
        backbone=entry.backbone,
        approximation=head.approximation,
        params=head.params,
        cv_map=head.cv_score,
        cv_std=head.cv_std,
        macro_f1_at_half=half["macro_f1"] or 0.0,
        per_label=by_label
        | {"threshold": _values(entry.thresholds), "reached": entry.reached.tolist()},
        seconds=round(head.seconds, 3),
        predict_seconds=round(entry.predict_seconds, 4),
        grid=head.grid,
        verdict=verdict,
    )


def measure(
    labels: NDArray[np.int8],
    probabilities: NDArray[np.floating],
    thresholds: NDArray[np.float64],
    seed: int,
    group: NDArray[np.intp] | None,
    worth: float = 1.0,
) -> dict[str, Any]:
    """Return scores, ``intervals``, ``per_label`` and ``curves`` with the names of the results.

    ``labels`` and ``probabilities`` are ``(n, k)``, and ``thresholds`` that or ``(k,)``. Scores
    that are not defined are None.
    """
    arguments = labels, probabilities, thresholds, seed, group
    scores, intervals = metrics.scores(*arguments), metrics.intervals(*arguments, worth)
    own = {"macro_ap": "map", "average_precision": "ap", "roc_auc": "auc"}
    table = metrics.per_label(labels, probabilities, thresholds)._asdict()
    by_label = {own.get(name, name): _values(values) for name, values in table.items()}
    for name, ends in intervals.per_label.items():
        by_label[f"{own.get(name, name)}_ci"] = [
            None if np.isnan(row).any() else row.tolist() for row in ends
        ]
    return {own.get(name, name): value for name, value in scores.items()} | {
        "intervals": {
            own.get(name, name): None if ends is None else list(ends)
            for name, ends in intervals.scores.items()
        },
        "per_label": by_label | {"known": (labels >= 0).sum(axis=0).tolist()},
        "curves": [
            _curve(labels[:, code], probabilities[:, code]) for code in range(labels.shape[1])
        ],
    }


def _values(values: NDArray[Any]) -> list[Any]:
    return [None if value != value else value for value in values.tolist()]


def _curve(labels: NDArray[np.int8], probabilities: NDArray[np.floating]) -> dict[str, list[float]]:
    """Return a label's precision by recall, at up to `CURVE_POINTS` thresholds."""
    judged = labels >= 0
    order = np.argsort(-probabilities[judged], kind="stable")
    present = (labels[judged] == 1)[order]
    if not present.any():
        return {"recall": [], "precision": []}
    hits = np.cumsum(present)
    values = probabilities[judged][order]
    last = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)
    chosen = last[np.unique(np.linspace(0, len(last) - 1, CURVE_POINTS).astype(int))]
    return {
        "recall": np.round(hits[chosen] / hits[-1], 4).tolist(),
        "precision": np.round(hits[chosen] / (chosen + 1), 4).tolist(),
    }
