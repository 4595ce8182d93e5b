"""Several labels on one image, from a CSV to predictions."""

from __future__ import annotations

import csv
import json

import numpy as np
import onnxruntime
import pytest

HEADS = ("--heads", "logistic-regression", "--no-near-duplicates")
COLOURS = ("red", "green", "blue")


def test_the_model_returns_labels_by_its_thresholds(colour_results):
    session = onnxruntime.InferenceSession(colour_results / "model.onnx")
    facts = json.loads(session.get_modelmeta().custom_metadata_map["headstart.model"])
    shape = [size if isinstance(size, int) else 2 for size in session.get_inputs()[0].shape]
    crops = np.zeros(shape, np.uint8)
    labels, scores = session.run(["labels", "probabilities"], {"image": crops})
    assert facts["target"] == "multi-label"
    expected = scores >= np.array(facts["thresholds"], np.float32)
    assert np.array_equal(labels, expected)


def test_predict_writes_the_labels_and_a_column_for_each(colour_results, colours, headstart):
    done = headstart("predict", colour_results, colours / "0.png", colours / "1.png")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["error"] for row in rows] == ["", ""]
    assert {"labels", "p:red", "p:green", "p:blue"} <= rows[0].keys()
    document = json.loads(headstart("predict", colour_results, colours / "0.png", "--json").stdout)
    named = document["predictions"][0]["labels"]
    assert "|".join(named) == rows[0]["labels"]


def test_the_card_and_the_report_have_every_label(colour_results):
    for file in ("MODEL_CARD.md", "report.html"):
        text = (colour_results / file).read_text(encoding="utf-8")
        assert all(name in text for name in COLOURS)


def test_the_same_command_again_does_nothing(colour_results, headstart):
    store = colour_results.parent / "photos.h5"
    assert (
        "nothing to do" in headstart("train-heads", store, "--out", colour_results, *HEADS).stdout
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("predict", "{results}", "{photos}/0.png", "--min-confidence", "0.5"), "threshold"),
        (("predict", "{results}", "{photos}/0.png", "--at", "95%"), "threshold"),
        (
            ("export-model", "{results}", "{photos}/photos.csv", "--out", "{results}/x.onnx"),
            "multi-label",
        ),
        (("backbones", "--for", "{photos}/photos.csv"), "multi-label"),
    ],
)
def test_what_does_not_support_labels_says_so(
    colour_results, colours, headstart, arguments, reason
):
    extra = ("--precision", "fp16") if arguments[0] == "export-model" else ()
    words = (word.format(results=colour_results, photos=colours) for word in (*arguments, *extra))
    assert reason in headstart(*words, code=1).stderr.splitlines()[-1]


def test_export_features_writes_the_labels(colour_results, headstart, tmp_path):
    out = tmp_path / "table.csv"
    headstart("export-features", colour_results.parent / "photos.h5", "--to", "csv", "--out", out)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert any("|" in row["label"] for row in rows)
