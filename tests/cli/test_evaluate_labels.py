"""``headstart evaluate`` with several labels on one image."""

from __future__ import annotations

import csv
import json

import fastjsonschema
import numpy as np
import pytest
from headstart.report.schema import evaluation_schema
from sklearn.metrics import average_precision_score, f1_score

pytestmark = pytest.mark.slow

LABELS = ("red", "green", "blue")


@pytest.fixture
def results(colour_results):
    return colour_results


@pytest.fixture
def photos(colours):
    return colours


def scored(headstart, *words, code=0):
    document = json.loads(headstart("evaluate", *words, "--json", code=code).stdout)
    fastjsonschema.compile(evaluation_schema("multi-label"))(document)
    return document


def test_scores_are_those_of_scikit_learn_for_models_and_their_predictions(
    headstart, results, photos, tmp_path
):
    for name in ("p.csv", "p.jsonl"):
        headstart("predict", results, photos / "photos.csv", "--out", name)
    documents = [
        scored(headstart, name, photos / "photos.csv", "--split", "all")
        for name in (results, "p.csv", "p.jsonl")
    ]
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    p = np.array([[float(row[f"p:{name}"]) for name in LABELS] for row in rows])
    lines = (photos / "columns.csv").read_text().splitlines()[1:]
    true = np.array([line.split(",")[1:4] for line in lines], int)
    predicted = np.array([[name in row["labels"].split("|") for name in LABELS] for row in rows])
    for document in documents:
        (model,) = document["models"]
        order = [LABELS.index(name) for name in document["labels"]]
        expected = average_precision_score(true, p, average="macro")
        assert model["map"] == pytest.approx(expected, abs=1e-4)
        low, high = model["intervals"]["map"]
        assert low <= model["map"] <= high
        assert model["macro_f1"] == pytest.approx(f1_score(true, predicted, average="macro"))
        assert model["per_label"]["support"] == true[:, order].sum(axis=0).tolist()
    assert documents[0]["models"][0]["seen"] > 0
    assert {remark["code"] for remark in documents[0]["remarks"]} >= {"HS502"}
    assert documents[0]["models"][0]["per_label"]["threshold"][0] is not None


def test_predictions_of_train_heads_bring_their_labels(headstart, results):
    document = scored(headstart, results / "predictions.csv")
    expected = json.loads((results / "results.json").read_text())["heads"][0]
    for key in ("map", "macro_f1", "hamming_loss"):
        assert document["models"][0][key] == pytest.approx(expected[key], abs=1e-4)


def test_the_difference_names_what_changed(headstart, results, photos, tmp_path):
    headstart("predict", results, photos / "photos.csv", "--out", "good.csv")
    rows = list(csv.DictReader((tmp_path / "good.csv").read_text().splitlines()))
    rng = np.random.default_rng(1)
    shuffled = rng.permutation(len(rows))
    for row, other in zip(rows, [rows[place]["p:red"] for place in shuffled], strict=True):
        labels = set(filter(None, row["labels"].split("|"))) - {"red"}
        labels |= {"red"} if float(other) > 0.5 else set()
        names = [name[2:] for name in row if name.startswith("p:")]
        row |= {"p:red": other, "labels": "|".join(name for name in names if name in labels)}
    with (tmp_path / "bad.csv").open("w") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    words = ["bad.csv", photos / "columns.csv", "--against", "good.csv", "--split", "all"]
    document = scored(headstart, *words, "--report", "page.html", "--fail-worse", code=3)
    paired = document["paired"]
    assert paired["verdict"] == "worse"
    assert {change["label"] for change in paired["changes"]} == {"red"}
    losses = sum(change["direction"] == "loss" for change in paired["changes"])
    own = {each["label"]: each for each in paired["by_label"]}
    assert own["red"]["losses"] == losses > 0 == own["blue"]["losses"]
    page = (tmp_path / "page.html").read_text()
    for text in ('id="changes"', 'id="labels"', 'id="errors"', "data:image/webp", "<polyline"):
        assert text in page
    out = headstart("evaluate", *words).stdout
    assert "WORSE" in out
    assert max(len(line) for line in out.splitlines()) <= 100


def test_unknown_cells_and_missing_labels_count_for_nothing(headstart, results, photos, tmp_path):
    _, *lines = (photos / "columns.csv").read_text().splitlines()
    cells = [line.split(",")[:4] for line in lines]
    for row in cells[:20]:
        row[1] = "-1"
    for name, header, rows in (
        ("unknown", "path,red,green,blue,oak", [[*row, "1"] for row in cells]),
        ("two", "path,red,green", [row[:3] for row in cells]),
    ):
        table = [header, *(",".join(row) for row in rows)]
        (photos / f"{name}.csv").write_text("\n".join(table))
    document = scored(headstart, results, photos / "unknown.csv")
    place = document["labels"].index("red")
    assert document["models"][0]["per_label"]["known"][place] == 70
    assert [each["label"] for each in document["unscored"]] == ["oak"]
    document = scored(headstart, results, photos / "two.csv")
    assert document["unscored"][0]["label"] == "blue"
    assert any(remark["code"] == "HS507" for remark in document["remarks"])


def test_a_condition_is_on_the_lower_end(headstart, results, photos):
    words = [results, photos / "photos.csv"]
    for rule in ("map=99.9%", "f1:red=0.999", "subset_accuracy=1"):
        assert not scored(headstart, *words, "--fail-below", rule, code=3)["gates"][0]["passed"]
    assert scored(headstart, *words, "--fail-below", "ap:red=0.1")["gates"][0]["passed"]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["{results}", "{photos}/photos.csv", "--fail-below", "accuracy=0.5"], 2, "no score of"),
        (["{results}", "{photos}/photos.csv", "--fail-below", "ap:oak=0.5"], 1, "no label oak"),
        (["{results}", "nowhere", "--costs", "{photos}/two.csv"], 2, "costs"),
        (["{results}", "{photos}/photos.csv", "--target", "single-label"], 1, "several labels"),
        (["{single}", "{photos}/photos.csv"], 1, "one class"),
        (["{results}", "{photos}/photos.csv", "--against", "{single}"], 1, "one class"),
        (["top.csv", "{photos}/photos.csv"], 1, "--top-k"),
        (["odd.csv"], 1, "7 for the label a"),
        (["{results}", "{photos}/other.csv"], 1, "no label that"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    headstart, results, photos, tiny_classifier, tmp_path, words, code, text
):
    (photos / "other.csv").write_text("path,oak,elm\nodd.png,1,0\neven.png,0,1\n")
    for name in ("odd.png", "even.png"):  # refused before they are read
        (photos / name).write_bytes(b"no image")
    (tmp_path / "top.csv").write_text("path,labels,class_1,probability_1,error\n0.png,a,a,0.5,\n")
    (tmp_path / "odd.csv").write_text("path,predicted,true:a,p:a\n0.png,a,7,0.5\n")
    words = [word.format(results=results, photos=photos, single=tiny_classifier) for word in words]
    done = headstart("evaluate", *words, code=code)
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_names_with_the_separator_are_told_apart(headstart, tmp_path):
    lines = ["path,predicted,true:a|b,true:b,p:a|b,p:b", "x,a|b|b,1,0,0.9,0.8", "y,a|b,0,1,0.7,0.1"]
    (tmp_path / "p.csv").write_text("\n".join(lines))
    errors = scored(headstart, "p.csv")["errors"]
    wrong = {(each["path"], each["label"], each["present"]) for each in errors}
    assert wrong == {("x", "b", False), ("y", "a|b", False), ("y", "b", True)}
