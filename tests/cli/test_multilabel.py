"""Several labels on one image, from a CSV to predictions."""

from __future__ import annotations

import csv
import json
import types

import numpy as np
import onnxruntime
import pytest

HEADS = ("--heads", "logistic-regression", "--repeats", 1, "--no-near-duplicates")
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
        (("predict", "{results}", "{photos}/0.png", "--sets"), "--recall-at-least"),
        (
            ("train-heads", "{results}/../photos.h5", "--out", "x", "--targets", "95%"),
            "--precision-at-least",
        ),
    ],
)
def test_what_does_not_support_labels_says_so(
    colour_results, colours, headstart, arguments, reason
):
    words = (word.format(results=colour_results, photos=colours) for word in arguments)
    assert reason in headstart(*words, code=1).stderr.splitlines()[-1]


@pytest.mark.cases(1)
@pytest.mark.slow
def test_backbones_are_ranked_by_mean_average_precision(
    colours, tiny_backbone, headstart, tmp_path
):
    for name in ("photos.csv", "columns.csv"):
        words = ["backbones", "--for", colours / name, "--backbone", tiny_backbone, "--only-named"]
        words += ["--label-columns", "red,green,blue"] if name == "columns.csv" else []
        document = json.loads(headstart(*words, "--out", "choice", "--json").stdout)
        (tried,) = document["tried"]
        assert (document["metric"], document["classes"], document["images"]) == ("map", 3, 60)
        assert tried["interval"][0] <= tried["map"] <= tried["interval"][1]
        assert tried["map"] > 0.8
        assert "labels" in (tmp_path / "choice" / "accuracy_cost.svg").read_text()
    assert "mAP" in headstart(*words).stdout


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_model_of_labels_is_converted(colour_results, colours, headstart, tmp_path, precision):
    words = ["--precision", precision, "--out", tmp_path / "small.onnx", "--max-drift", "2"]
    words += ["--max-accuracy-loss", "20", "--json"]
    done = headstart("export-model", colour_results, colours / "columns.csv", *words)
    change = json.loads(done.stdout)
    assert change["score"] == "mean average precision"
    assert change["labelled"] == change["images"] == 30
    results = json.loads((colour_results / "results.json").read_text())
    assert change["accuracy_before"] == pytest.approx(results["heads"][0]["map"], abs=1e-6)
    assert change["equal_labels"] > 0.8
    image = colours / "1.png"
    before, after = (
        next(csv.DictReader(headstart("predict", model, image).stdout.splitlines()))
        for model in (colour_results, tmp_path / "small.onnx")
    )
    for name in COLOURS:
        assert float(after[f"p:{name}"]) == pytest.approx(float(before[f"p:{name}"]), abs=0.2)


def test_a_model_is_converted_with_images_of_its_kind(colour_results, headstart, image_folder):
    words = ["export-model", colour_results, image_folder(), "--out", "x.onnx"]
    done = headstart(*words, "--precision", "fp16", code=1)
    assert "--target multi-label" in done.stderr.splitlines()[-1]


def test_the_images_that_a_model_was_trained_on_are_named_for_its_server(colour_results):
    """The server leaves out the images that it was tested on."""
    from headstart.workflows.models import _training_images

    said = []
    hooks = types.SimpleNamespace(notice=said.append)
    stores, tested = _training_images(colour_results, hooks)
    assert said == []
    assert [store.name for store in stores] == ["photos.h5"]
    assert len(tested) == 30


def test_export_features_writes_the_labels(colour_results, headstart, tmp_path):
    out = tmp_path / "table.csv"
    headstart("export-features", colour_results.parent / "photos.h5", "--to", "csv", "--out", out)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert any("|" in row["labels"] for row in rows)
    for row in rows:
        own = [name for name in COLOURS if row[f"true:{name}"] == "1"]
        assert sorted(own) == sorted(filter(None, row["labels"].split("|")))


@pytest.fixture
def flags(colours, tmp_path):
    """Give a CSV of 0/1 columns, some cells unknown, and a label of validation images alone."""
    rows = list(csv.DictReader((colours / "photos.csv").read_text().splitlines()))
    with (tmp_path / "flags.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "split", *COLOURS, "never"])
        for number, row in enumerate(rows):
            flags = [int(name in row["labels"].split("|")) for name in COLOURS]
            if number % 7 == 0:
                flags[number % 3] = -1
            split = "validation" if 30 <= number < 45 else row["split"]
            table.writerow([colours / row["path"], split, *flags, int(30 <= number < 34)])
    return tmp_path / "flags.csv"


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["top", "head", "all"])
def test_a_network_is_fine_tuned_on_labels(flags, headstart, tmp_path, mode):
    out = tmp_path / "tuned"
    words = ["--out", out, "--mode", mode, "--backbone", "timm:test_resnet", "--weights", "random"]
    words += ["--views", "2", "--epochs", "2", "--batch-size", "15"]
    words += ["--ignore", "HS605"] if mode == "top" else []
    headstart("finetune", flags, *words)
    history = json.loads((out / "history.json").read_text())
    assert [epoch["epoch"] for epoch in history["epochs"]] == [0, 1, 2]
    assert all(0 < epoch["validation_map"] <= 1 for epoch in history["epochs"])
    losses = [epoch["validation_loss"] for epoch in history["epochs"]]
    assert history["best"] == int(np.argmin(losses))
    assert any("never" in remark for remark in history["remarks"])
    results = json.loads((out / "results.json").read_text())
    assert results["dataset"]["classes"] == [*COLOURS]
    codes = {warning["code"] for warning in results["warnings"]}
    assert ("HS605" in codes) is (mode != "top")
    network = next(head for head in results["heads"] if head["name"] == "fine-tuned")
    rivals = {head["verdict"] for head in results["heads"]}
    assert rivals <= {"best", "tie", "worse", "better"}
    low, high = network["intervals"]["map"]
    assert low <= network["map"] <= high
    rows = list(csv.DictReader(flags.read_text().splitlines()))
    tested = [row for row in rows if row["split"] == "test"]
    done = headstart("predict", out, *(row["path"] for row in tested))
    answers = list(csv.DictReader(done.stdout.splitlines()))
    assert _map(tested, answers) == pytest.approx(network["map"], abs=1e-4)
    for row in answers:
        named = [
            name
            for name, threshold in zip(COLOURS, network["per_label"]["threshold"], strict=True)
            if float(row[f"p:{name}"]) >= threshold
        ]
        assert row["labels"] == "|".join(named)
    card = (out / "MODEL_CARD.md").read_text()
    assert "fine-tuned" in card
    assert "distance" not in card
    assert "Validation mAP" in (out / "report.html").read_text()
    assert "Mean average precision" in (out / "curves.svg").read_text()


def _map(rows, answers):
    from sklearn.metrics import average_precision_score

    precisions = []
    for name in COLOURS:
        true = np.array([int(row[name]) for row in rows])
        scores = np.array([float(answer[f"p:{name}"]) for answer in answers])
        precisions.append(average_precision_score(true[true >= 0], scores[true >= 0]))
    return np.mean(precisions)
