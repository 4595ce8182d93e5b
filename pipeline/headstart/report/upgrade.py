"""Upgrades results of earlier schemas to the present one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart.core.results import Comparison

_HEAD = {
    "test_accuracy_without_twins": "test_accuracy_without_leakage",
    "test_accuracy_without_twins_ci": "test_accuracy_without_leakage_ci",
}
_PROTOCOL = {"n_related": "n_grouped", "n_twins": "n_leaked"}
_DUPLICATES = {
    "test_images_with_twins_in_training": "leaked_test_images",
    "contradicting": "label_conflicts",
}

_TITLES = {
    "logistic-regression": "logistic regression",
    "linear-svm": "linear SVM",
    "rbf-svm": "RBF SVM",
    "knn": "kNN",
    "most-frequent": "most frequent class",
    "raw-pixels": "raw pixels",
}


def upgrade(results: object) -> object:
    """Return the JSON document of ``results.json`` in the present schema.

    Other documents are returned unchanged; `headstart.report.validation` checks the result.
    """
    if not isinstance(results, Mapping) or results.get("schema") != 1:
        return results
    document = dict(results) | {"schema": Comparison.SCHEMA}
    document["protocol"] = _renamed(document.get("protocol"), _PROTOCOL)
    for key in ("heads", "baselines"):
        if isinstance(document.get(key), list):
            document[key] = [_titled(_renamed(head, _HEAD)) for head in document[key]]
    insights = document.get("insights")
    if isinstance(insights, Mapping) and "duplicates" in insights:
        duplicates = _renamed(insights["duplicates"], _DUPLICATES)
        document["insights"] = {**insights, "duplicates": duplicates}
    return document


def _renamed(value: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 - unchecked JSON
    if not isinstance(value, Mapping):
        return value
    return {names.get(key, key): part for key, part in value.items()}


def _titled(head: Any) -> Any:  # noqa: ANN401 - unchecked JSON
    if not isinstance(head, Mapping):
        return head
    name = head.get("name", "")
    return {**head, "title": _TITLES.get(name, name) if isinstance(name, str) else name}
