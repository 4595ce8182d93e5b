"""The files: valid by their schema, the same bytes again, whatever the classes are called."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import subprocess
import sys
import textwrap

import factories
import jsonschema
import numpy as np
import pytest
from headstart import report
from headstart.core.errors import OutputError
from headstart.core.records import Extraction, FeatureSet, Preprocess
from headstart.evaluation.compare import CompareConfig, compare, write_results
from headstart.evaluation.compare.results import document
from headstart.report.schema import schema

FAST = ("logistic-regression", "knn")
NAMES = ("日本語", "سلام، می‌خواهم", 'a,"b"\n', "caf\udce9", "e\u0301 👩‍👩‍👧", "[\n 1,\n 2\n]")


BACKBONE = factories.backbone(
    name="gaussian",
    source="a test",
    dim=16,
    std=(0.25, 0.25, 0.25),
    preprocess=Preprocess(256, 224),
)


def feature_set(k, n=160, d=16, names=None, split="train", backbone="gaussian", seed=0):
    """Gaussian classes; the last quarter of the images is the test."""
    rng = np.random.default_rng(seed)
    label = (np.arange(n) % k).astype(np.int32)
    features = rng.normal(size=(k, d))[label] + 0.8 * rng.normal(size=(n, d))
    content = np.random.default_rng(1)
    return FeatureSet(
        features=features.astype(np.float32),
        path=[f"ordner/ä {i},\n\udce9.jpg" for i in range(n)],
        label=label,
        split=["test" if i >= 0.75 * n else split for i in range(n)],
        sha256=content.integers(256, size=(n, 32), dtype=np.uint8),
        classes=names or tuple(f"class-{i}" for i in range(k)),
        extraction=Extraction(dataclasses.replace(BACKBONE, name=backbone)).to_json(),
        digest=backbone,
        pixels=content.integers(256, size=(n, 32, 32, 3), dtype=np.uint8),
        failures=[("b\udcff.jpg", "cut")],
        name="d\udcff",
    )


def checked(folder):
    """Read ``results.json`` and hold it to the schema."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    jsonschema.validate(results, schema(), jsonschema.Draft7Validator)
    return results


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    data = feature_set(len(NAMES), names=NAMES)
    comparison, outcome = compare([data], CompareConfig(heads=FAST, repeats=1))
    folder = tmp_path_factory.mktemp("out") / "new" / "folder"
    return *write_results(folder, comparison, outcome), comparison, outcome, data


def test_results_are_json_in_utf_8(written):
    results, _, comparison, *_ = written
    text = results.read_text(encoding="utf-8")
    held = checked(results.parent)
    assert held == json.loads(json.dumps(comparison.to_json()))
    assert held["schema"] == comparison.SCHEMA
    assert held["dataset"]["classes"] == [*NAMES[:3], "caf\\udce9", *NAMES[4:]]
    assert NAMES[0] in text
    assert {path.name for path in results.parent.iterdir()} == {
        *("results.json", "predictions.csv", "label_issues.csv", "duplicates.csv", "sessions.csv")
    }
    assert re.search(r'"confusion": \[\n +\[\d+(, \d+){5}\],\n', text)


@pytest.mark.slow
def test_the_page_and_the_plots_take_these_results(written):
    folder = written[0].parent
    assert "سلام" in report.write_report(folder).read_text(encoding="utf-8")
    assert len(report.write_plots(folder)) == 4


def test_predictions_are_csv_in_utf_8(written):
    _, predictions, comparison, outcome, data = written
    with predictions.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    other = comparison.heads[1].name
    names = [name.replace("\udce9", "\\udce9") for name in NAMES]
    assert list(rows[0]) == [
        *("path", "true", "predicted", "correct"), *(f"p:{name}" for name in names), f"by:{other}"
    ]  # fmt: skip
    assert [row["path"] for row in rows] == [
        data.path[i].replace("\udce9", "\\udce9") for i in outcome.protocol.test
    ]
    right = [row["true"] == row["predicted"] for row in rows]
    assert right == [row["correct"] == "true" for row in rows]
    assert np.mean(right) == comparison.heads[0].test_accuracy
    others = [row["true"] == row[f"by:{other}"] for row in rows]
    assert np.mean(others) == comparison.heads[1].test_accuracy
    for row in rows:
        shares = [float(row[name]) for name in row if name.startswith("p:")]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert float(row[f"p:{row['predicted']}"]) == max(shares)


def test_a_place_that_cannot_be_written_is_named(written, tmp_path):
    *_, comparison, outcome, _ = written
    (tmp_path / "results.json").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*results\.json"):
        write_results(tmp_path, comparison, outcome)


def test_lists_of_numbers_take_one_line_and_texts_stay_as_they_are():
    values = {"a": [[1, 2], [-3.5e-7, None]], "b": ["[\n 1\n]", "null"], "[\n1\n]": [], "c": [True]}
    text = document(values)
    assert json.loads(text) == values
    assert "[1, 2]" in text
    assert "[-3.5e-07, null]" in text


# ---- every kind of comparison is valid by the schema ---------------------------------------------


def run(folder, *stores, groups=None, **config):
    comparison, outcome = compare(stores, CompareConfig(heads=FAST, **config), groups)
    write_results(folder, comparison, outcome)
    report.write_report(folder)
    report.write_plots(folder)
    return checked(folder)


@pytest.mark.slow
def test_several_backbones_on_a_validation_split_with_groups(tmp_path):
    stores = [feature_set(3, backbone=name, seed=seed) for seed, name in enumerate("ab")]
    for store in stores:
        store.split[:30] = ["validation"] * 30
    groups = {stores[0].path[row]: "scene" for row in (0, 5, 130)}
    results = run(
        tmp_path, *stores, groups=groups, validation="predefined", class_weight="balanced"
    )
    assert results["protocol"]["validation"] == "predefined"
    assert results["heads"][0]["test_accuracy_without_leakage"] is not None
    header = (tmp_path / "predictions.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.count(",by:a/") + header.count(",by:b/") == 3
    assert "on a" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.further("tests/unit/evaluation/compare/test_stage.py::test_a_held_out_test_is_stated")
@pytest.mark.slow
def test_a_test_of_one_class_and_a_held_out_one(tmp_path):
    data = feature_set(2)
    data.label[120:] = 1
    results = run(tmp_path, data, repeats=1)
    assert results["heads"][0]["roc_auc"] is None
    assert results["heads"][0]["per_class"]["recall"][0] is None
    data = feature_set(2, n=80, split="")
    data.split[:] = [""] * 80
    assert run(tmp_path, data, repeats=2)["dataset"]["test_split"] == "out of fold"
    assert run(tmp_path, data, holdout=True, repeats=1)["dataset"]["test_split"] == "held out"


@pytest.mark.further("tests/unit/evaluation/compare/test_stage.py::test_many_classes")
@pytest.mark.slow
def test_many_classes_stay_small_in_every_file(tmp_path):
    k = 150
    names = tuple(f"{i} سلام <b>" for i in range(k))
    data = feature_set(k, n=4 * k, d=32, names=names)
    results = run(tmp_path, data, repeats=1)
    best = results["heads"][0]
    assert best["confusion"]["shape"] == [k, k]
    assert sum(count for *_, count in best["confusion"]["cells"]) == k
    right = sum(n for true, predicted, n in best["confusion"]["cells"] if true == predicted)
    assert right / k == pytest.approx(best["test_accuracy"])
    assert (tmp_path / "results.json").stat().st_size < 1_000_000
    assert (tmp_path / "report.html").stat().st_size < 7_000_000  # of them 4.8 MB of plotly.js


# ---- the same inputs, the same bytes -------------------------------------------------------------

SCRIPT = """
    import dataclasses, pathlib, sys
    import numpy as np
    from headstart.evaluation.compare import CompareConfig, compare, write_results
    from headstart.core.records import FeatureSet

    rng = np.random.default_rng(0)
    n, k = 120, 4
    label = np.arange(n, dtype=np.int32) % k
    sha256 = rng.integers(256, size=(n, 32), dtype=np.uint8)
    stores = [
        FeatureSet(
            features=(rng.normal(size=(k, d))[label] + 2 * rng.normal(size=(n, d))).astype("f4"),
            path=[f"{i}.jpg" for i in range(n)], label=label, split=[""] * n, sha256=sha256,
            classes=tuple("abcd"), extraction={"backbone": {"name": str(d)}}, digest=str(d),
            pixels=rng.integers(256, size=(n, 32, 32, 3), dtype=np.uint8), failures=[], name="s",
        )
        for d in (40, 12)
    ]
    groups = {f"{i}.jpg": str(i // 3) for i in range(60)}
    comparison, outcome = compare(stores, CompareConfig(folds=3, repeats=1), groups)
    write_results(pathlib.Path(sys.argv[1]), comparison, outcome)
"""


@pytest.mark.further(
    "tests/unit/evaluation/compare/test_stage.py::test_the_same_inputs_give_the_same_results_with_any_number_of_workers"
)
@pytest.mark.process
def test_the_same_inputs_give_the_same_bytes(tmp_path):
    """Whatever the order of hashes and the number of threads; times apart."""
    files = []
    for number in ("1", "2"):
        folder = tmp_path / number
        threads = {"OMP_NUM_THREADS": number, "OPENBLAS_NUM_THREADS": number}
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), folder],
            env={**os.environ, "PYTHONHASHSEED": number, **threads},
            check=True,
        )
        text = (folder / "results.json").read_text(encoding="utf-8")
        text, times = re.subn(r'("(?:predict_)?seconds": )[\d.e-]+', r"\1–", text)
        assert times == 2 * (10 + 2)
        files.append((text, (folder / "predictions.csv").read_bytes()))
    assert files[0] == files[1]
