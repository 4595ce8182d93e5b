"""Results that earlier versions wrote: brought to the present schema, and reported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from headstart.core.label_results import LabelComparison
from headstart.core.results import Comparison
from headstart.report import write_plots, write_report
from headstart.report.schema import schema
from headstart.report.upgrade import upgrade

FILES = Path(__file__).parents[2] / "files"


def former() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FILES / "results-schema-1/results.json").read_text())
    return document


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, list) else [value]


def test_former_results_become_results_of_the_present_schema():
    results: Any = upgrade(former())
    jsonschema.validate(results, schema(), jsonschema.Draft7Validator)
    assert results["protocol"]["n_leaked"] == former()["protocol"]["n_twins"] == 4
    assert results["insights"]["duplicates"]["leaked_test_images"]
    assert [head["title"] for head in results["heads"]] == ["logistic regression", "kNN"]
    assert [head["title"] for head in results["baselines"]] == ["most frequent class", "raw pixels"]


def test_remarks_without_a_code_get_that_of_their_kind():
    results: Any = upgrade(former())
    texts = [("search", "The best C"), ("split", "The features of the test images differ"),
             ("split", "The test images are easier"), ("groups", "x"), ("else", "y")]  # fmt: skip
    results["insights"]["remarks"] = [{"topic": topic, "text": text} for topic, text in texts]
    upgraded: Any = upgrade(results)
    jsonschema.validate(upgraded, schema(), jsonschema.Draft7Validator)
    codes = [remark["code"] for remark in upgraded["insights"]["remarks"]]
    assert codes == ["HS101", "HS302", "HS301", "HS401", ""]
    assert upgrade(upgraded) is upgraded


def test_warnings_of_former_results_are_remarks_without_a_code():
    results: Any = upgrade(former())
    assert [warning["text"] for warning in results["warnings"]] == former()["warnings"]
    assert {warning["code"] for warning in results["warnings"]} == {""}


def test_warnings_of_several_labels_are_remarks_too():
    results: Any = upgrade({"schema": 1, "target": "multi-label", "warnings": ["a"]})
    assert results["schema"] == LabelComparison.SCHEMA
    assert results["warnings"] == [{"topic": "", "text": "a", "code": ""}]
    assert upgrade(results) is results


def test_an_upgrade_keeps_every_figure():
    heads = len(former()["heads"]) + len(former()["baselines"])
    before, after = map(leaves, (former(), upgrade(former())))
    # A title and five unknown scores of each head; what the scores are of, and the conclusion; the
    # topic and the code of each warning.
    assert len(after) == len(before) + 6 * heads + 2 + 2 * len(former()["warnings"])
    figures = [sorted(x for x in values if isinstance(x, float)) for values in (before, after)]
    assert figures[0] == figures[1]


def test_an_upgrade_of_the_present_schema_changes_nothing():
    results = upgrade(former())
    assert upgrade(results) is results


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "text",
        {},
        {"schema": 1},
        {"schema": 1, "heads": [1], "insights": [], "protocol": 2},
    ],
)
def test_an_upgrade_leaves_what_is_no_comparison_to_the_check(document):
    results: Any = upgrade(document)
    assert results == document or results["schema"] == Comparison.SCHEMA


def test_former_results_make_a_report_and_plots(tmp_path):
    folder = Path(shutil.copytree(FILES / "results-schema-1", tmp_path / "results"))
    page = write_report(folder).read_text(encoding="utf-8")
    for words in ("Without leakage", "kNN", "train/disc/1.png", "have no thresholds"):
        assert words in page
    assert all(path.stat().st_size for path in write_plots(folder))


def test_results_of_the_second_schema_keep_their_verdicts_and_intervals(tmp_path):
    former = json.loads((FILES / "version-0.1.0/results.json").read_text())
    assert former["schema"] < Comparison.SCHEMA
    results: Any = upgrade(former)
    jsonschema.validate(results, schema(), jsonschema.Draft7Validator)
    assert results["protocol"]["scored_on"] == "test split"
    for before, after in zip(former["heads"], results["heads"], strict=True):
        assert after["verdict"] == before["verdict"]
        assert after["test_accuracy_ci"] == before["test_accuracy_ci"]
        assert after["p"] is None
