"""The tables beside the results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from factories import prediction, results_document, write_predictions
from headstart.core.errors import InputError
from headstart.report import render, write_report
from headstart.report.tables import read_history


@pytest.mark.parametrize("broken", ["p:shirt", "path", "true", "predicted"])
def test_predictions_that_lack_something_are_refused(broken: str):
    row = prediction("a.jpg", "hat", "shirt", 0.9)
    del row[broken]
    with pytest.raises(InputError, match=r"^the predictions cannot .* train-heads again$"):
        render(results_document(), [row])


def test_an_empty_table_of_predictions_is_no_failure(folder: Path):
    write_predictions(folder, [])
    assert "lists none of the 6 errors" in write_report(folder).read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b"", b"path,true\na,b\n", b"\xff\xfe\x00"])
def test_a_foreign_table_of_predictions_is_refused(folder: Path, content: bytes):
    (folder / "predictions.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"predictions\.csv has no column .* or remove the file$"):
        write_report(folder)


def test_predictions_with_an_impossible_row_are_refused(folder: Path):
    write_predictions(folder, [prediction("a.jpg", "hat", "shirt", 0.5) | {"p:shirt": "much"}])
    with pytest.raises(InputError, match=r"predictions\.csv cannot be reported: .*much"):
        write_report(folder)


@pytest.mark.parametrize("table", ["label_issues.csv", "duplicates.csv"])
def test_a_foreign_table_beside_the_results_is_refused(folder: Path, table: str):
    (folder / table).write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="has no column"):
        write_report(folder)


def test_before_the_first_epoch_nothing_was_trained(tmp_path: Path):
    epochs = [
        {"epoch": 0, "train_loss": 0.0, "validation_loss": 0.9},
        {"epoch": 1, "train_loss": 0.8, "validation_loss": 0.7},
    ]
    (tmp_path / "history.json").write_text(json.dumps({"epochs": epochs}))
    found = read_history(tmp_path / "history.json")
    assert (found["train_loss"], found["validation_loss"]) == ([None, 0.8], [0.9, 0.7])


@pytest.mark.parametrize("content", ["{", "7", "[3]", '{"epochs": 1}'])
def test_a_history_that_is_none_is_refused_in_one_line(folder: Path, content: str):
    (folder / "history.json").write_text(content)
    with pytest.raises(InputError) as caught:
        write_report(folder)
    assert "\n" not in str(caught.value)
