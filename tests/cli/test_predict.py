"""``headstart predict``."""

import csv
import io
import json

import pytest
from factories import with_facts


def test_a_path_that_is_missing_is_told_before_the_first_row(
    headstart, tiny_classifier, image_folder
):
    done = headstart("predict", tiny_classifier, image_folder(), "missing", code=1)
    assert (done.stdout, "no such file or folder" in done.stderr) == ("", True)


@pytest.mark.slow
def test_predict_writes_what_is_asked_for(headstart, tiny_classifier, image_folder, tmp_path):
    root = image_folder(tmp_path / "photos", splits=["test"])
    (root / "test" / "bark" / "broken.jpg").write_bytes(b"no image")
    words = ["predict", tiny_classifier, root]
    done = headstart(*words)
    assert "1 of 13 images could not be used" in done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 13
    for row in rows:
        scores = {name[2:]: value for name, value in row.items() if name.startswith("p:")}
        assert list(scores) == ["bark", "cloth", "drain"]
        if row["error"]:
            assert row["path"].endswith("broken.jpg")
            assert not row["label"]
        else:
            assert row["confidence"] == max(scores.values()) == scores[row["label"]]
    assert "13 predictions" in headstart(*words, "--out", "p.csv").stdout
    assert (tmp_path / "p.csv").read_text().splitlines() == done.stdout.splitlines()
    headstart(*words, "--out", "p.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    document = json.loads(headstart(*words, "--json").stdout)
    assert document["predictions"] == lines
    assert [line.get("label", "") for line in lines] == [row["label"] for row in rows]
    for line, row in zip(lines, rows, strict=True):
        assert row["error"] or f"{line['probability']:.6f}" == row["confidence"]


def test_lines_end_as_on_every_unix_stream(headstart, tiny_classifier, image_folder):
    done = headstart("predict", tiny_classifier, image_folder())
    assert "\r" not in done.stdout


@pytest.mark.parametrize(
    ("bad", "limit", "code"),
    [(1, None, 0), (3, None, 1), (12, None, 1), (3, "0.5", 0), (1, "0", 1)],
)
def test_too_many_failures_are_an_error_after_all_rows(
    headstart, tiny_classifier, image_folder, tmp_path, bad, limit, code
):
    root = image_folder(splits=["test"])
    for path in sorted(path for path in root.rglob("*") if path.is_file())[:bad]:
        path.write_bytes(b"no image")
    words = ["predict", tiny_classifier, root, "--out", "p.csv"]
    done = headstart(*words, *(["--max-failures", limit] if limit else []), code=code)
    assert f"{bad} of 12 images could not be used" in done.stderr
    assert ("--max-failures" in done.stderr) == (code == 1)
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 13


def test_the_folder_of_results_stands_for_its_model(
    headstart, tiny_classifier, image_folder, tmp_path
):
    results = tmp_path / "results"
    results.mkdir()
    assert "no model at results/model.onnx" in headstart("predict", "results", ".", code=1).stderr
    (results / "model.onnx").write_bytes(tiny_classifier.read_bytes())
    root = image_folder()
    words = ["predict", "results", root]
    assert headstart(*words).stdout == headstart("predict", tiny_classifier, root).stdout


def test_the_column_of_paths_can_be_named(headstart, tiny_classifier, image_folder, tmp_path):
    root = image_folder()
    first = min(path for path in root.rglob("*") if path.is_file())
    table = tmp_path / "new.csv"
    table.write_text(f"shot,path\n{first.relative_to(tmp_path)},elsewhere.jpg\n")
    row = headstart("predict", tiny_classifier, table, "--path-column", "shot").stdout
    assert str(first.relative_to(tmp_path)) in row
    assert "elsewhere" not in row
    refused = headstart("predict", tiny_classifier, root, "--path-column", "shot", code=1)
    assert "has no columns" in refused.stderr


@pytest.mark.slow
def test_a_target_is_the_models_own_minimum_confidence(
    headstart, tiny_classifier, image_folder, tmp_path
):
    points = [{"target": 0.9, "threshold": 0.75, "share": 0.9},
              {"target": 0.99, "threshold": 0.95, "share": 0.4}]  # fmt: skip
    model = with_facts(tiny_classifier, tmp_path / "m.onnx", operating_points=points)
    root = image_folder()
    for target, threshold in (("90%", "0.75"), ("0.99", "0.95")):
        same = headstart("predict", model, root, "--min-confidence", threshold).stdout
        assert headstart("predict", model, root, "--at", target).stdout == same
        assert "unknown" in same
    words = ["predict", model, root, "--at", "99%"]
    assert "90%, 99%" in headstart(*words[:4], "95%", code=1).stderr
    assert "share of right answers" in headstart(*words[:4], "high", code=2).stderr
    headstart(*words, "--min-confidence", "0.5", code=2)
    headstart(*words[:4], "90%,99%", code=2)
    assert "no thresholds" in headstart("predict", tiny_classifier, *words[2:], code=1).stderr
    names = ["bark", "cloth", "unknown"]
    model = with_facts(tiny_classifier, tmp_path / "n.onnx", operating_points=points, classes=names)
    assert "named unknown" in headstart("predict", model, *words[2:], code=1).stderr


@pytest.mark.slow
def test_evaluate_measures_the_models_thresholds(
    headstart, tiny_classifier, image_folder, tmp_path
):
    points = [{"target": 0.9, "threshold": 0.55, "share": 0.9}]
    model = with_facts(tiny_classifier, tmp_path / "m.onnx", operating_points=points)
    root = image_folder(splits=["test"])
    document = json.loads(headstart("evaluate", model, root, "--json").stdout)
    (point,) = document["models"][0]["operating_points"]
    rows = csv.DictReader(io.StringIO(headstart("predict", model, root, "--at", "90%").stdout))
    labels = [row["label"] for row in rows]
    assert point["share"] == sum(label != "unknown" for label in labels) / len(labels)
    assert "predict --at" in headstart("evaluate", model, root).stdout


@pytest.mark.slow
def test_sets_hold_the_classes_that_the_model_cannot_exclude(
    headstart, tiny_classifier, image_folder, tmp_path
):
    sets = {"level": 0.95, "mass": 0.6, "least": [0.3, 0.0, 0.99]}
    model = with_facts(tiny_classifier, tmp_path / "m.onnx", prediction_sets=sets)
    root = image_folder()
    sizes = set()
    for option in ("--sets", "--sets-by-class"):
        rows = list(csv.DictReader(io.StringIO(headstart("predict", model, root, option).stdout)))
        for row in rows:
            scores = {name[2:]: float(p) for name, p in row.items() if name.startswith("p:")}
            ranked = sorted(scores, key=lambda name: -scores[name])
            if option == "--sets":
                above = [sum(scores[other] for other in ranked[:rank]) for rank in range(3)]
                expected = [name for name, mass in zip(ranked, above, strict=True) if mass <= 0.6]
            else:
                least = dict(zip(("bark", "cloth", "drain"), sets["least"], strict=True))
                expected = [n for n in ranked if n == ranked[0] or scores[n] >= least[n]]
            assert json.loads(row["set"]) == expected
            sizes.add(len(expected))
    assert len(sizes) > 1
    document = json.loads(headstart("predict", model, root, "--sets", "--json").stdout)
    assert all(row["set"][0] == row["label"] for row in document["predictions"])
    assert (
        "no thresholds for sets"
        in headstart("predict", tiny_classifier, root, "--sets", code=1).stderr
    )


@pytest.mark.slow
def test_costs_choose_the_label_of_least_expected_cost(
    headstart, tiny_classifier, image_folder, tmp_path
):
    root = image_folder()
    table = tmp_path / "costs.csv"
    table.write_text("true,bark,cloth,drain\nbark,0,1,1\ncloth,1,0,1\ndrain,99,99,0\n")
    rows = list(
        csv.DictReader(
            io.StringIO(headstart("predict", tiny_classifier, root, "--costs", table).stdout)
        )
    )
    assert {row["label"] for row in rows} > {"drain"} or all(r["label"] == "drain" for r in rows)
    for row in rows:
        p = {name[2:]: float(value) for name, value in row.items() if name.startswith("p:")}
        costs = {"bark": p["cloth"] + 99 * p["drain"], "cloth": p["bark"] + 99 * p["drain"],
                 "drain": p["bark"] + p["cloth"]}  # fmt: skip
        assert costs[row["label"]] <= min(costs.values()) + 1e-4
        assert float(row["confidence"]) == p[row["label"]]
    both = ["--costs", table, "--min-confidence", "0.5"]
    headstart("predict", tiny_classifier, root, *both, code=2)
    out = headstart("evaluate", tiny_classifier, root, "--costs", table).stdout
    assert "by expected cost" in out
    table.write_text("true,bark\nbark,0\n")
    assert (
        "class cloth"
        in headstart("predict", tiny_classifier, root, "--costs", table, code=1).stderr
    )
