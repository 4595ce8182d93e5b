"""Comparisons of heads for several labels on one image."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
from factories import feature_set, label_sets, texts
from headstart import report
from headstart.core.errors import InputError
from headstart.core.targets import MULTI_LABEL, by_name
from headstart.evaluation.compare import CompareConfig, compare, inputs_digest, write_results
from headstart.report import validation
from headstart.workflows import leaderboard

QUICK = CompareConfig(heads=("logistic-regression",), near_duplicates=False, repeats=1)


def run(data, **changes):
    return compare([data], dataclasses.replace(QUICK, **changes))


@pytest.fixture(scope="module")
def compared():
    """Give a comparison of two heads, a third of its images a test split."""
    data = label_sets(n=150, split=["test" if row % 3 == 0 else "train" for row in range(150)])
    return (data, *run(data, heads=("logistic-regression", "knn")))


def test_heads_are_chosen_and_scored(compared):
    _, comparison, outcome = compared
    best, other = comparison.heads
    assert best.verdict == "best"
    assert best.map > 0.9 > comparison.baselines[0].map
    assert other.difference is not None
    assert best.intervals["map"][0] < best.map < best.intervals["map"][1]
    assert comparison.protocol["n_test"] == 50
    assert outcome.best.predicted.shape == (50, 3)


@pytest.mark.slow
def test_files_tell_the_same(compared, tmp_path):
    data, comparison, outcome = compared
    results, predictions = write_results(tmp_path, comparison, outcome)
    document = validation.read_results(results)
    assert document["target"] == MULTI_LABEL
    rows = list(csv.DictReader(predictions.read_text().splitlines()))
    right = sum(row["correct"] == "true" for row in rows) / len(rows)
    assert right == pytest.approx(document["heads"][0]["subset_accuracy"])
    for row in rows:
        labels = dict(zip(data.path, data.labels, strict=True))[row["path"]]
        assert row["true"] == "|".join(labels)
        thresholds = document["heads"][0]["per_label"]["threshold"]
        reached = [
            name
            for name, threshold in zip(data.classes, thresholds, strict=True)
            if float(row[f"p:{name}"]) >= threshold
        ]
        assert row["predicted"] == "|".join(reached)


@pytest.mark.slow
def test_the_page_and_the_tables_show_them(compared, tmp_path):
    data, comparison, outcome = compared
    write_results(tmp_path, comparison, outcome)
    page = report.write_report(tmp_path, [data]).read_text(encoding="utf-8")
    for text in (*data.classes, "Labels together", "Precision-recall curves", "kNN"):
        assert text in page
    assert all(path.is_file() for path in report.write_plots(tmp_path))
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(leaderboard.rows(results)) == 3
    assert "mAP" in leaderboard.as_html(results)
    assert "mAP" in leaderboard.headline(results)


@pytest.mark.slow
def test_unknown_cells_change_nothing_in_their_label(compared):
    data, plain, _ = compared
    sets = data.label_sets.copy()
    sets[::3][:20, 0] = -1
    unknown, _ = run(dataclasses.replace(data, label_sets=sets))
    assert unknown.heads[0].per_label["known"][0] == 30
    assert unknown.heads[0].per_label["ap"][1] == plain.heads[0].per_label["ap"][1]


@pytest.mark.slow
def test_few_images_are_scored_out_of_fold_with_thresholds_of_other_folds():
    comparison, outcome = run(label_sets(n=90))
    assert comparison.protocol["scored_on"] == "out of fold"
    assert outcome.best.applied.shape == (90, 3)
    assert len(np.unique(outcome.best.applied[:, 0])) > 1


@pytest.mark.slow
def test_labels_that_cannot_be_learned_are_left_out_with_a_warning():
    data = label_sets(n=90, k=4)
    sets = data.label_sets.copy()
    sets[:, 0], sets[:, 1] = 0, 1
    comparison, _ = run(dataclasses.replace(data, label_sets=sets))
    assert comparison.dataset["classes"] == ["label 2", "label 3"]
    assert sum("label 0" in line or "label 1" in line for line in texts(comparison.warnings)) == 2
    assert [warning.code for warning in comparison.warnings] == ["HS605", "HS605"]
    ignoring, _ = run(dataclasses.replace(data, label_sets=sets), ignore=("HS605",))
    assert ignoring.warnings == []
    constant = dataclasses.replace(data, classes=data.classes[:2], label_sets=sets[:, :2])
    with pytest.raises(InputError, match=r"no label can be learned.*label 0.*label 1"):
        run(constant)


@pytest.mark.slow
def test_more_labels_than_images_get_a_remark():
    rng = np.random.default_rng(0)
    comparison, _ = run(label_sets((rng.random((40, 50)) < 0.3).astype(np.int8)))
    assert "HS603" in [remark.code for remark in comparison.insights.remarks]


@pytest.mark.slow
def test_labels_that_always_occur_together_get_a_remark():
    data = label_sets(n=90)
    sets = data.label_sets.copy()
    sets[:, 1] = sets[:, 0]
    comparison, _ = run(dataclasses.replace(data, label_sets=sets))
    [text] = [each.text for each in comparison.insights.remarks if each.code == "HS602"]
    assert "label 0 and label 1" in text
    assert "label 2" not in text


@pytest.mark.slow
def test_duplicates_with_other_labels_are_named():
    data = label_sets(n=90)
    sha256, sets = data.sha256.copy(), data.label_sets.copy()
    sha256[1] = sha256[0]
    sets[0], sets[1] = [1, 0, 0], [1, 1, 0]
    comparison, _ = run(dataclasses.replace(data, sha256=sha256, label_sets=sets))
    assert comparison.insights.duplicates.label_conflicts == [("0.jpg", "1.jpg")]
    assert any("different labels" in line for line in texts(comparison.warnings))


@pytest.mark.slow
def test_wrong_labels_are_found_with_their_image():
    data = label_sets(n=400)
    sets, rng = data.label_sets.copy(), np.random.default_rng(1)
    wrong = {(int(row), int(rng.integers(3))) for row in rng.choice(400, 20, replace=False)}
    for cell in wrong:
        sets[cell] = 1 - sets[cell]
    comparison, outcome = run(dataclasses.replace(data, label_sets=sets))
    first = {(each.row, each.code) for each in outcome.suspects[: len(wrong)]}
    assert len(first & wrong) > 0.7 * len(wrong)
    assert all(each.present == sets[each.row, each.code] for each in outcome.suspects)
    assert comparison.insights.label_errors.suspects == len(outcome.suspects)


@pytest.mark.slow
def test_thresholds_do_what_was_asked_for():
    data = label_sets(n=150)
    for name in ("precision", "recall"):
        comparison, outcome = run(data, **{f"{name}_at_least": 0.9})
        rows = outcome.protocol.train
        answers = outcome.best.head.out_of_fold >= outcome.best.thresholds
        true = data.label_sets[rows] == 1
        whole = answers if name == "precision" else true
        assert ((answers & true).sum(axis=0) / whole.sum(axis=0) >= 0.9).all()
        assert name in comparison.protocol["thresholds"]


@pytest.mark.slow
def test_the_mean_of_heads_is_one_more_row():
    comparison, outcome = run(label_sets(n=150), heads=("knn", "kernel-ridge", "mean-of-heads"))
    assert {head.name for head in comparison.heads} == {"knn", "kernel-ridge", "mean-of-heads"}
    row = next(head for head in comparison.heads if head.name == "mean-of-heads")
    assert row.params == {"heads": "knn, kernel-ridge"}
    assert comparison.insights.learning_curve.head != "mean-of-heads"
    assert all(np.isfinite(entry.probabilities).all() for entry in outcome.entries)


def test_bad_requests_are_one_line():
    several, single = label_sets(n=90), feature_set()
    with pytest.raises(InputError, match="--per-label"):
        run(single, per_label=True)
    with pytest.raises(InputError, match="store 2 single-label"):
        compare([several, single], QUICK)
    with pytest.raises(InputError, match="choose one"):
        CompareConfig(precision_at_least=0.5, recall_at_least=0.5)
    nothing = dataclasses.replace(several, label_sets=np.full((90, 3), -1, np.int8))
    with pytest.raises(InputError, match="no labelled images"):
        run(nothing)


def test_the_digest_of_inputs_knows_the_labels():
    data = label_sets(n=30)
    sets = data.label_sets.copy()
    sets[0, 0] ^= 1
    changed = dataclasses.replace(data, label_sets=sets)
    assert inputs_digest([data], QUICK) != inputs_digest([changed], QUICK)


@pytest.mark.parametrize("name", ["single-label", "multi-label"])
def test_every_part_of_every_target_can_be_loaded(name):
    target = by_name(name)
    assert set(target.parts) == set(by_name("single-label").parts)
    for purpose in target.parts:
        own = {key for key in vars(target.part(purpose)) if not key.startswith("_")}
        assert own
    with pytest.raises(InputError, match="not available"):
        target.part("prophecy")
