"""``headstart suggest``: from unlabelled images to labels that train and are not scored."""

import csv
import json
import shutil

import pytest
from factories import write_tiny_backbone
from headstart.core.records import SUGGESTED
from headstart.features import store

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(image_folder, tmp_path):
    """A CSV of 36 images, of which 24 have labels."""
    folder = image_folder(classes=["bark", "cloth", "sand"], splits=[""], per_class=12)
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    table = folder / "photos.csv"
    with table.open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        rows.writerows(
            [name, name.split("/")[0] if n % 3 == 0 else ""] for n, name in enumerate(names)
        )
    return table


@pytest.fixture
def embedded(headstart, photos, tiny_backbone):
    headstart("features", photos, "--out", "photos.h5", "--backbone", tiny_backbone)
    return "photos.h5"


def filled(table):
    """Fill in the labels of a table, which are the folders' names."""
    rows = list(csv.DictReader(table.read_text().splitlines()))
    for row in rows:
        row["label"] = row["label"] or row["path"].split("/")[-2]
    with table.open("w") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_suggestions_are_labelled_embedded_and_trained_on(
    headstart, embedded, photos, tiny_backbone, tmp_path
):
    done = headstart("suggest", embedded, "--n", 6, "--out", "next.csv", "--report", "next.html")
    assert "6 images to label, uncertainty" in done.stdout
    page = (tmp_path / "next.html").read_text()
    assert page.count("<img") == 6
    assert "<script" not in page
    filled(tmp_path / "next.csv")
    done = headstart("suggest", embedded, "--n", 6, "--out", "all.csv", "--all")
    table = tmp_path / "all.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 36
    filled(table)
    headstart("features", "all.csv", "--out", embedded, "--backbone", tiny_backbone)
    data = store.read(tmp_path / embedded)
    assert int(data.is_suggested.sum()) == 6
    words = ("--heads", "knn", "--holdout", "--repeats", 1)
    headstart("train-heads", embedded, "--out", "results", *words)
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert any("chosen by headstart suggest" in warning["text"] for warning in results["warnings"])
    lines = (tmp_path / "results" / "predictions.csv").read_text().splitlines()
    tested = {row["path"] for row in csv.DictReader(lines)}
    chosen = {path for path, own in zip(data.path, data.origin, strict=True) if own == SUGGESTED}
    assert len(chosen) == 6
    assert not tested & chosen


def test_results_guess_with_their_model(headstart, embedded, photos, tiny_backbone, tmp_path):
    words = ("--heads", "logistic-regression", "--repeats", 1)
    headstart("train-heads", embedded, "--out", "results", *words)
    document = json.loads(headstart("suggest", "results", "--n", 5, "--json").stdout)
    assert document["guesser"].endswith("model.onnx")
    assert len(document["images"]) == 5
    model = tmp_path / "results" / "model.onnx"
    other = json.loads(headstart("suggest", model, embedded, "--n", 5, "--json").stdout)
    assert other["images"] == document["images"]
    (tmp_path / embedded).unlink()
    done = headstart("suggest", "results", code=1)
    assert "name a store" in done.stderr


def test_features_of_another_backbone_are_refused(
    headstart, embedded, photos, tmp_path, tiny_classifier
):
    other = write_tiny_backbone(tmp_path / "other.onnx", seed=3)
    headstart("features", photos, "--out", "other.h5", "--backbone", other)
    assert "different" in headstart("suggest", embedded, "other.h5", code=1).stderr
    assert "embed" in headstart("suggest", tiny_classifier, "other.h5", code=1).stderr


def test_a_wrong_number_is_a_wrong_usage(headstart, embedded):
    headstart("suggest", embedded, "--n", 0, code=2)


def test_several_labels_are_suggested_filled_in_and_read(
    headstart, colours, colour_results, tiny_backbone, tmp_path
):
    rows = list(csv.DictReader((colours / "photos.csv").read_text().splitlines()))
    table = tmp_path / "part.csv"
    with table.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "labels"])
        for number, row in enumerate(rows):
            writer.writerow([colours / row["path"], row["labels"] if number % 2 else "?"])
    headstart("features", table, "--out", "part.h5", "--backbone", tiny_backbone)
    page = ("--report", "next.html", "--no-near-duplicates")
    done = headstart("suggest", "part.h5", "--n", 6, "--out", "next.csv", "--all", *page)
    assert "column labels of" in done.stdout
    assert "blue" in (tmp_path / "next.html").read_text()
    truth = {row["path"]: row["labels"] for row in rows}
    cells = list(csv.DictReader((tmp_path / "next.csv").read_text().splitlines()))
    assert [row["labels"] for row in cells[:6]] == ["?"] * 6
    for row in cells[:6]:
        row["labels"] = truth[row["path"].split("/")[-1]]
    with (tmp_path / "next.csv").open("w") as file:
        writer = csv.DictWriter(file, cells[0].keys())
        writer.writeheader()
        writer.writerows(cells)
    headstart("features", "next.csv", "--out", "part.h5", "--backbone", tiny_backbone)
    data = store.read(tmp_path / "part.h5")
    assert (data.target, int(data.is_labelled.sum())) == ("multi-label", 51)
    assert int(data.is_suggested.sum()) == 6
    assert all(
        data.label_text(n) == "|".join(sorted(truth[path.split("/")[-1]].split("|")))
        for n, path in enumerate(data.path)
        if data.is_labelled[n]
    )
    shutil.copy(colour_results / "model.onnx", tmp_path / "model.onnx")
    done = headstart("suggest", "model.onnx", "part.h5", "--n", 3, "--json")
    document = json.loads(done.stdout)
    assert document["guesser"].endswith("model.onnx")
    assert all(image["labels"] is not None for image in document["images"])


def test_images_without_labels_may_get_several(headstart, photos, tiny_backbone, tmp_path):
    headstart("features", photos, "--no-labels", "--out", "u.h5", "--backbone", tiny_backbone)
    words = ("--target", "multi-label", "--out", "u.csv")
    assert "labels" in headstart("suggest", "u.h5", "--n", 4, *words).stdout
    rows = csv.DictReader((tmp_path / "u.csv").read_text().splitlines())
    assert [row["labels"] for row in rows] == ["?"] * 4
