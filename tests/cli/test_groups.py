"""Answers for groups of images: ``predict``, ``evaluate`` and ``train-heads`` with ``--groups``."""

import csv
import io
import json

import fastjsonschema
import pytest
from factories import with_facts
from headstart.report.schema import evaluation_schema


def table_of(root, folder, left_out=0):
    """Write a table that groups the images of each folder below ``root``, but for the last ones."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    rows = [f"{path.relative_to(root).as_posix()},{path.parent.name}" for path in files]
    table = folder / "groups.csv"
    table.write_text("\n".join(["path,group", *rows[: len(rows) - left_out]]) + "\n")
    return table, len(rows)


@pytest.mark.slow
def test_predict_writes_a_row_for_each_group(headstart, tiny_classifier, image_folder, tmp_path):
    root = image_folder(tmp_path / "photos", splits=["test"])
    table, images = table_of(root, tmp_path, left_out=1)
    words = ("predict", tiny_classifier, root, "--groups", table)
    done = headstart(*words)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["group"] for row in rows[:2]] == ["bark", "cloth"]
    assert len(rows) == 3
    assert sum(int(row["images"]) for row in rows) == images
    assert f"1 of {images} images are in no group" in done.stderr
    document = json.loads(headstart(*words, "--json", "--summary").stdout)
    assert [row["group"] for row in document["predictions"]][:2] == ["bark", "cloth"]
    assert document["summary"]["images"] == images
    assert "thresholds for groups" in headstart(*words, "--at", "99%", code=1).stderr


@pytest.mark.slow
def test_evaluate_scores_groups_and_a_gate_asks_for_them(
    headstart, tiny_classifier, image_folder, tmp_path
):
    root = image_folder(tmp_path / "photos", splits=["test"])
    table, _ = table_of(root, tmp_path)
    words = ("evaluate", tiny_classifier, root, "--groups", table)
    done = headstart(*words, "--against", tiny_classifier, "--report", "page.html")
    assert "one answer a group" in done.stdout
    assert "Groups of images" in (tmp_path / "page.html").read_text()
    document = json.loads(headstart(*words, "--json", "--group-answer", "vote").stdout)
    groups = document["group_answers"]
    assert (groups["answer"], groups["groups"]) == ("vote", 2)
    assert document["models"][0]["group_operating_points"] == []
    gate = headstart(*words, "--fail-below", "group_accuracy=99%", code=3)
    assert "group accuracy" in gate.stderr
    headstart("evaluate", tiny_classifier, root, "--group-answer", "vote", code=2)
    (tmp_path / "elsewhere.csv").write_text("path,group\nx.png,a\n")
    wrong = headstart("evaluate", tiny_classifier, root, "--groups", "elsewhere.csv", code=1)
    assert "none of the images" in wrong.stderr


@pytest.mark.slow
def test_evaluate_measures_the_thresholds_for_groups(
    headstart, tiny_classifier, image_folder, tmp_path
):
    root = image_folder(tmp_path / "photos", splits=["test"])
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*"))
    rows = [f"{name},{name.rpartition('/')[0]}-{n // 2}" for n, name in enumerate(files)]
    (tmp_path / "groups.csv").write_text("\n".join(["path,group", *rows]) + "\n")
    grouped = ("--groups", "groups.csv")
    done = headstart("predict", tiny_classifier, root, *grouped)
    answers = list(csv.DictReader(io.StringIO(done.stdout)))
    sure = sorted(float(row["confidence"]) for row in answers)
    threshold = sum(sure[1:3]) / 2
    promised = {"answer": "mean", "operating_points": [{"target": 0.9, "threshold": threshold}]}
    model = with_facts(tiny_classifier, tmp_path / "m.onnx", groups=promised)
    words = ("evaluate", model, root, *grouped)
    document = json.loads(headstart(*words, "--json", "--report", "page.html").stdout)
    fastjsonschema.compile(evaluation_schema())(document)
    (point,) = document["models"][0]["group_operating_points"]
    open_ = [row for row in answers if float(row["confidence"]) >= threshold]
    right = [row["label"] == row["group"].split("/")[1].rpartition("-")[0] for row in open_]
    assert point["share"] == pytest.approx(len(open_) / len(answers))
    assert point["accuracy"] == pytest.approx(sum(right) / len(right))
    assert 'id="group-operating-points"' in (tmp_path / "page.html").read_text()
    assert "predict --groups --at" in headstart(*words).stdout
    assert "--groups --at" not in headstart(*words, "--group-answer", "vote").stdout


@pytest.mark.slow
def test_train_heads_scores_groups_and_lists_them(headstart, features, tmp_path):
    import h5py

    with h5py.File(tmp_path / features) as store:
        paths = [path.decode() for path in store["path"][:]]
    rows = [f"{path},{path.rpartition('/')[0]}-{n // 2}" for n, path in enumerate(paths)]
    (tmp_path / "groups.csv").write_text("\n".join(["path,group", *rows]) + "\n")
    words = ["train-heads", features, "--out", "r", "--folds", "2", "--repeats", 1]
    words += ["--heads", "knn"]
    done = headstart(*words, "--groups", "groups.csv")
    assert "group_predictions.csv: one answer a group" in done.stdout
    assert "right answers for groups" in done.stdout
    below = done.stdout.partition("right answers for groups")[2].partition("\nr: ")[0]
    assert max(map(len, below.splitlines())) <= 80
    results = json.loads((tmp_path / "r" / "results.json").read_text())
    groups = results["insights"]["group_answers"]
    text = (tmp_path / "r" / "group_predictions.csv").read_text()
    listed = list(csv.DictReader(io.StringIO(text)))
    assert len(listed) == groups["groups"] + groups["contradicting"] + groups["leaked"]
    page = (tmp_path / "r" / "report.html").read_text()
    assert "Groups of images" in page
    assert "Thresholds for groups are chosen on" in page
    assert groups["operating_points"]["images"] < len(rows)
    headstart(*words)
    assert not (tmp_path / "r" / "group_predictions.csv").exists()
