"""Results that are damaged or of another program."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from factories import insights, learning_curve, results_document
from headstart.core.errors import InputError
from headstart.report import render, write_report


@pytest.mark.parametrize("missing", ["", "nowhere"])
def test_no_results_means_train_first(tmp_path: Path, missing: str):
    with pytest.raises(InputError, match=r"^there is no .*results\.json; run headstart train-h"):
        write_report(tmp_path / missing)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b"9" * 5000,
        b"[]",
        b"3",
        b'{"schema": 1}',
        b'{"schema": 2}',
        b'{"schema": "1\\n"}',
        b'{"name": "of another program"}',
    ],
    ids=lambda content: repr(content[:20]),
)
def test_a_foreign_results_file_is_refused_in_one_line(tmp_path: Path, content: bytes):
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(InputError, match=r"results\.json[^\n]*run headstart train-heads again$"):
        write_report(tmp_path)


def test_results_that_are_a_folder_are_refused(tmp_path: Path):
    (tmp_path / "results.json").mkdir()
    with pytest.raises(InputError, match=r"^cannot read [^\n]*results\.json"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("keys", "value", "complaint"),
    [
        (["schema"], 5, "its schema is 5, not 4"),
        (["best"], "mlp", "the best head is not among the heads"),
        (["heads"], [], "heads is not valid"),
        (["heads"], {}, "heads is not valid"),
        (["heads", 0, "confusion"], [[1]], "confusion matrix of linear-svm is not 3 by 3"),
        (["heads", 0, "confusion", 1], [1, 2], "confusion matrix of linear-svm is not 3 by 3"),
        (["heads", 0, "confusion", 1, 1], -1, "heads[0].confusion is not valid"),
        (["heads", 1, "test_accuracy"], None, "heads[1].test_accuracy is not valid"),
        (["heads", 1, "test_accuracy_ci"], [0.5], "heads[1].test_accuracy_ci is not valid"),
        (
            ["heads", 0, "confusion"],
            {"shape": [3, 3], "cells": [[0, 3, 1]]},
            "confusion matrix of linear-svm is not 3 by 3",
        ),
        (["heads", 0, "confusion"], {"shape": [2, 2], "cells": []}, "linear-svm is not 3 by 3"),
        (["heads", 0, "confusion"], {"cells": []}, "confusion is not valid"),
        (["heads", 0, "intervals"], {"ece": [1]}, "missing in heads[0].intervals"),
        (["heads", 0, "intervals", "ece"], [1], "heads[0].intervals.ece is not valid"),
        (["heads", 0, "reliability", "images"], [1], "reliability of linear-svm differ"),
        (["heads", 1, "difference_ci"], [1], "heads[1].difference_ci is not valid"),
        (["backbones", 0, "scores"], {"logme": "much"}, "scores.logme is not valid"),
        (["heads", 1, "seconds"], 10**400, "heads[1].seconds is not valid"),
        (["dataset", "classes"], [], "dataset.classes is not valid"),
        (["dataset", "images", "train"], [1, "x"], "dataset.images.train is not valid"),
        (["dataset"], None, "dataset is not valid"),
        (["extraction", "document"], {}, "backbone is missing in extraction.document"),
        (["warnings"], "none", "warnings is not valid"),
        (["provenance"], None, "provenance is not valid"),
        (["insights", "learning_curve"], 7, "insights.learning_curve is not valid"),
        (["insights", "learning_curve"], {}, "insights.learning_curve is not valid"),
        (["insights", "duplicates"], {}, "missing in insights.duplicates"),
    ],
)
def test_results_of_the_wrong_shape_are_refused(
    keys: list[str | int], value: object, complaint: str
):
    results: Any = copy.deepcopy(results_document())
    part = results
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    words = rf"^the results cannot be reported: [^\n]*{re.escape(complaint)}[^\n]*; run [^\n]*$"
    with pytest.raises(InputError, match=words):
        render(results)


@pytest.mark.parametrize("key", sorted(results_document().keys() - {"schema"}))
def test_every_part_of_the_results_is_needed(key: str):
    results = results_document()
    del results[key]
    with pytest.raises(InputError, match=f"{key} is missing"):
        render(results)


@pytest.mark.parametrize("point", [{"accuracy": 2}, {"accuracy_ci": [0.1]}, {"images": "many"}])
def test_a_learning_curve_that_cannot_be_drawn_is_refused(point: dict[str, Any]):
    results = results_document(insights=insights(learning_curve([20, 40])))
    results["insights"]["learning_curve"]["points"][1] |= point
    with pytest.raises(InputError, match="learning_curve"):
        render(results)
