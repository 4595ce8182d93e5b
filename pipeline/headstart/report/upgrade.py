"""Upgrades results of earlier schemas to the present one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from headstart.core.remarks import former

_HEAD = {
    "test_accuracy_without_twins": "test_accuracy_without_leakage",
    "test_accuracy_without_twins_ci": "test_accuracy_without_leakage_ci",
}
_PROTOCOL = {"n_related": "n_grouped", "n_twins": "n_leaked"}
_DUPLICATES = {
    "test_images_with_twins_in_training": "leaked_test_images",
    "contradicting": "label_conflicts",
}
_CODES = {"search": "HS101", "baseline": "HS201", "split": "HS301", "groups": "HS401"}
_NEW_SCORES = ("p", "visible_difference", "calibration_error", "calibration_chance")

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
    Intervals and verdicts stay those of the version that computed them.
    """
    if not isinstance(results, Mapping):
        return results
    document = results
    for schema, step in _LABEL_STEPS if "target" in results else _STEPS:
        if document.get("schema") == schema:
            document = step(document) | {"schema": schema + 1}
    return _with_codes(document)


def _with_codes(results: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give remarks their codes, which results of schema 3 had not at first."""
    insights = results.get("insights")
    remarks = insights.get("remarks") if isinstance(insights, Mapping) else None
    if not isinstance(remarks, list) or not isinstance(insights, Mapping):
        return results
    if all(isinstance(remark, Mapping) and "code" in remark for remark in remarks):
        return results
    coded = [
        {"code": _code(remark), **remark} if isinstance(remark, Mapping) else remark
        for remark in remarks
    ]
    return {**results, "insights": {**insights, "remarks": coded}}


def _code(remark: Mapping[str, Any]) -> str:
    topic = str(remark.get("topic"))
    if topic == "split" and str(remark.get("text")).startswith("The features of"):
        return "HS302"
    return _CODES.get(topic, "")


def _from_first(results: Mapping[str, Any]) -> dict[str, Any]:
    """Rename what schema 2 renamed, and give heads their titles."""
    document = dict(results)
    document["protocol"] = _renamed(document.get("protocol"), _PROTOCOL)
    for key in ("heads", "baselines"):
        if isinstance(document.get(key), list):
            document[key] = [_titled(_renamed(head, _HEAD)) for head in document[key]]
    insights = document.get("insights")
    if isinstance(insights, Mapping) and "duplicates" in insights:
        duplicates = _renamed(insights["duplicates"], _DUPLICATES)
        document["insights"] = {**insights, "duplicates": duplicates}
    return document


def _from_second(results: Mapping[str, Any]) -> dict[str, Any]:
    """Add what schema 3 added: it is unknown of results that were computed without it."""
    document = {"conclusion": "", **results}
    if isinstance(document.get("protocol"), Mapping):
        document["protocol"] = {"scored_on": "test split", **document["protocol"]}
    if isinstance(document.get("insights"), Mapping):
        document["insights"] = {"remarks": [], **document["insights"]}
    for key in ("heads", "baselines"):
        if isinstance(document.get(key), list):
            document[key] = [_with_new_scores(head) for head in document[key]]
    return document


def _with_records(results: Mapping[str, Any]) -> dict[str, Any]:
    """Make remarks of the warnings, which were sentences without codes before."""
    warnings = results.get("warnings")
    if not isinstance(warnings, list):
        return dict(results)
    records = [
        dataclasses.asdict(former(warning)) if isinstance(warning, str) else warning
        for warning in warnings
    ]
    return {**results, "warnings": records}


def _with_new_scores(head: Any) -> Any:  # noqa: ANN401 - unchecked JSON
    if not isinstance(head, Mapping):
        return head
    head = {**dict.fromkeys(_NEW_SCORES), **head}
    if isinstance(head.get("intervals"), Mapping):
        head["intervals"] = {"calibration_error": None, **head["intervals"]}
    return head


def _renamed(value: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 - unchecked JSON
    if not isinstance(value, Mapping):
        return value
    return {names.get(key, key): part for key, part in value.items()}


def _titled(head: Any) -> Any:  # noqa: ANN401 - unchecked JSON
    if not isinstance(head, Mapping):
        return head
    name = head.get("name", "")
    return {**head, "title": _TITLES.get(name, name) if isinstance(name, str) else name}


_STEPS = ((1, _from_first), (2, _from_second), (3, _with_records))
_LABEL_STEPS = ((1, _with_records),)
