"""The stage: an honest protocol, a whole record, and a clear word on every unusable input."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
from factories import texts
from headstart.core.errors import InputError
from headstart.core.records import FeatureSet
from headstart.evaluation import metrics
from headstart.evaluation.compare import (
    CompareConfig,
    compare,
    count_steps,
    inputs_digest,
    scoring,
    write_results,
)
from headstart.evaluation.splits import Rules, make_protocol
from headstart.evaluation.splits import warnings as remarks
from headstart.heads import default_heads
from headstart.workflows import leaderboard
from hypothesis import given
from hypothesis import strategies as st

FAST = ("logistic-regression", "knn")
TWICE = CompareConfig(repeats=2)  # every head, on folds of two divisions


def feature_set(n=120, k=3, d=16, spread=1.0, seed=0, test=0.25, pixels=False):
    """Return Gaussian classes; the last share ``test`` of the images is the predefined test."""
    rng = np.random.default_rng(seed)
    label = (np.arange(n) % k).astype(np.int32)
    features = rng.normal(size=(k, d))[label] + spread * rng.normal(size=(n, d))
    return FeatureSet(
        features=features.astype(np.float32),
        path=[f"image-{i}.jpg" for i in range(n)],
        label=label,
        split=["test" if i >= n * (1 - test) else "train" for i in range(n)],
        sha256=rng.integers(256, size=(n, 32), dtype=np.uint8),
        classes=tuple(f"class-{i}" for i in range(k)),
        extraction={"backbone": {"name": "gaussian"}},
        digest="d1",
        pixels=rng.integers(256, size=(n, 32, 32, 3), dtype=np.uint8) if pixels else None,
        failures=[],
        name="blobs",
    )


def changed(data, rows=None, **values):
    """Return a copy with some fields replaced; for arrays, only at some rows."""
    if rows is not None:
        ((name, value),) = values.items()
        array = np.array(getattr(data, name), dtype=object if name in ("path", "split") else None)
        array[rows] = value
        values = {name: array.tolist() if array.dtype == object else array}
    return dataclasses.replace(data, **values)


@pytest.mark.slow
@pytest.mark.usefixtures("no_curve")
def test_the_best_features_are_named_before_anything_is_written():
    stores = [feature_set(), changed(feature_set(d=8, seed=1), digest="d2")]
    stores[1] = changed(
        stores[1], sha256=stores[0].sha256, extraction={"backbone": {"name": "other"}}
    )
    named = []
    config = CompareConfig(heads=("knn",), folds=3, repeats=1)
    comparison, _ = compare(stores, config, chosen=named.append)
    assert named == [comparison.extraction["digest"]]


def timeless(comparison):
    document = comparison.to_json()
    for head in document["heads"] + document["baselines"]:
        del head["seconds"], head["predict_seconds"]
    return document


def rounded(document):
    return json.loads(json.dumps(document), parse_float=lambda text: round(float(text), 6))


@pytest.fixture(scope="module")
def data():
    return feature_set(spread=1.5, pixels=True)


@pytest.fixture(scope="module")
def everything(data):
    lines = []
    return *compare([data], TWICE, progress=lines.append), lines


# ---- the record ----------------------------------------------------------------------------------


def test_all_heads_are_compared_best_first(everything):
    comparison, outcome, lines = everything
    names = [head.name for head in comparison.heads]
    assert sorted(names) == sorted(default_heads())
    accuracies = [head.cv_accuracy for head in comparison.heads]
    assert accuracies == sorted(accuracies, reverse=True)
    assert comparison.best == names[0]
    assert comparison.heads[0].verdict == "best"
    assert len(lines) == len(names)
    assert lines[0].startswith("logistic-regression: ")
    assert [entry.head.name for entry in outcome.entries] == names
    assert outcome.best is outcome.entries[0]


def test_the_record_has_the_published_shape(everything):
    document = everything[0].to_json()
    assert document["dataset"] == {
        "name": "blobs",
        "classes": ["class-0", "class-1", "class-2"],
        "images": {
            "train": {"class-0": 30, "class-1": 30, "class-2": 30},
            "test": {"class-0": 10, "class-1": 10, "class-2": 10},
        },
        "n_images": 120,
        "failures": 0,
        "failure_reasons": {},
        "test_split": "predefined",
    }
    assert document["extraction"] == {
        "digest": "d1",
        "document": {"backbone": {"name": "gaussian"}},
    }
    protocol = document["protocol"]
    assert protocol.pop("test_split").startswith("The data's own split named test: 30 images,")
    assert protocol == {
        "folds": 5,
        "repeats": 2,
        "seed": 0,
        "validation": "cross-validation",
        "tuned_on": ("5-fold stratified cross-validation, repeated 2 times, on 90 training images"),
        "n_train": 90,
        "n_test": 30,
        "n_grouped": 0,
        "n_leaked": 0,
        "n_classes": 3,
        "class_weight": "none",
        "scoring": "accuracy (logistic regression and kNN: log loss)",
        "scored_on": "test split",
        "interval": "95 %, Wilson's for accuracy, recall and precision",
    }
    provenance = document["provenance"]
    assert {"headstart", "numpy", "scikit-learn"} <= set(provenance["software"])
    assert set(provenance["machine"]) == {"platform", "cpus", "python"}
    assert len(provenance["inputs"]) == 64
    assert [base["name"] for base in document["baselines"]] == ["most-frequent", "raw-pixels"]
    assert [base["verdict"] for base in document["baselines"]] == ["", ""]


def test_scores_are_those_of_the_probabilities(data, everything):
    comparison, outcome, _ = everything
    rows = outcome.protocol.test
    true = data.label[rows]
    for head, entry in zip(comparison.heads, outcome.entries, strict=True):
        probabilities = entry.probabilities
        assert probabilities.shape == (30, 3)
        predicted = probabilities.argmax(axis=1)
        assert head.test_accuracy == np.mean(predicted == true)
        assert head.test_accuracy_ci == metrics.accuracy_interval(predicted == true)
        assert head.log_loss == metrics.log_loss(true, probabilities)
        assert np.trace(head.confusion) == np.sum(predicted == true)
        assert np.sum(head.confusion) == 30
        confidence = probabilities.max(axis=1)
        assert head.ece == metrics.expected_calibration_error(predicted == true, confidence)
        assert head.roc_auc == metrics.roc_auc(true, probabilities)[0]
        assert (
            head.balanced_accuracy
            == metrics.class_scores(true, predicted, len(data.classes)).balanced_accuracy
        )
        assert list(head.intervals) == [
            "balanced_accuracy",
            "macro_f1",
            "log_loss",
            "roc_auc",
            "calibration_error",
        ]
        for name in ("balanced_accuracy", "macro_f1", "log_loss", "roc_auc"):
            assert head.intervals[name][0] <= getattr(head, name) <= head.intervals[name][1]
        assert head.per_class["support"] == [10, 10, 10]
        assert sum(head.reliability["images"]) == 30
        assert head.predict_seconds > 0
        again = entry.head.estimator.predict_proba(data.features[rows])
        assert np.array_equal(probabilities, again)


def one_direction(gap, d):
    """Return two classes that differ in one of many directions; half of 600 images are the test."""
    data = feature_set(n=600, k=2, d=d, test=0.5)
    features = np.random.default_rng(0).normal(size=(600, d)).astype(np.float32)
    features[:, 0] += gap * (2 * data.label - 1)
    return changed(data, features=features)


@pytest.mark.slow
@pytest.mark.usefixtures("no_curve")
def test_verdicts_come_from_one_test_against_the_best():
    data = one_direction(gap=1, d=300)
    comparison, outcome = compare([data], CompareConfig(heads=("linear-svm", *FAST), repeats=1))
    true = data.label[outcome.protocol.test]
    correct = {entry.head.name: entry.predicted == true for entry in outcome.entries}
    rivals = comparison.heads[1:]
    exact = [metrics.mcnemar(correct[h.name], correct[comparison.best]) for h in rivals]
    assert [head.mcnemar_p for head in rivals] == exact
    assert [head.p for head in rivals] == metrics.holm(exact)
    for head in rivals:
        assert head.verdict == ("worse" if head.p <= 0.05 and head.difference < 0 else "tie")
        assert (head.difference_ci[1] < 0) == (head.verdict == "worse")
        assert head.difference == np.mean(correct[head.name]) - np.mean(correct[comparison.best])
    assert [head.verdict for head in comparison.heads] == ["best", "tie", "worse"]
    assert comparison.heads[2].name == "knn"  # the noise of 299 directions outweighs the signal
    words = comparison.conclusion
    assert comparison.best in words
    assert rivals[0].name in words
    assert "Avoid knn" in words


@pytest.mark.slow
@pytest.mark.usefixtures("no_curve")
def test_a_head_that_beats_the_best_on_the_test_is_named_and_not_chosen():
    data = one_direction(gap=2, d=60)
    # Two thirds of the training images are pairs of copies with labels drawn at random. A
    # neighbour knows their answer in cross-validation, and nothing of it helps on the test.
    features, label = data.features.copy(), data.label.copy()
    features[:200, 0] = 0
    features[:200, 30:] *= 5
    label[:200] = np.random.default_rng(1).integers(2, size=200)
    features[1:200:2], label[1:200:2] = features[0:200:2], label[0:200:2]
    comparison, _ = compare(
        [dataclasses.replace(data, features=features, label=label)],
        CompareConfig(heads=FAST, repeats=1),
    )
    assert comparison.best == "knn"
    assert [head.verdict for head in comparison.heads] == ["best", "better"]
    assert comparison.heads[1].difference_ci[0] > 0
    assert comparison.conclusion.startswith("Use knn, or add images: logistic-regression did")
    (warning,) = [text for text in texts(comparison.warnings) if "measurably better" in text]
    assert warning.startswith(
        "On the scored images logistic regression is measurably better than kNN, which"
    )


@pytest.mark.slow
def test_the_same_inputs_give_the_same_results_with_any_number_of_workers(data):
    first, second = (
        compare([data], CompareConfig(heads=FAST, repeats=2, workers=workers))[0]
        for workers in (1, 3)
    )
    # The last digits of a matrix product depend on the threads of BLAS (decision 37).
    assert rounded(timeless(first)) == rounded(timeless(second))
    other = compare([data], CompareConfig(heads=FAST, repeats=2, seed=1))[0]
    assert other.provenance["inputs"] != first.provenance["inputs"]
    assert other.heads[0].grid != first.heads[0].grid


@pytest.mark.parametrize(
    "change",
    [
        {"features": 0.5}, {"label": 1}, {"split": "validation"}, {"sha256": 9}, {"pixels": 9},
        {"path": "x"},
    ],
)  # fmt: skip
def test_provenance_changes_with_any_part_of_the_data(data, everything, change):
    other = changed(data, rows=[0], **change)
    inputs = inputs_digest([data], TWICE)
    assert everything[0].provenance["inputs"] == inputs
    assert inputs_digest([other], TWICE) != inputs


@pytest.mark.parametrize(
    "values",
    [
        {"heads": ("knn",)}, {"folds": 4}, {"seed": 1}, {"repeats": 1},
        {"class_weight": "balanced"},
        {"validation": "predefined"}, {"small_classes": "drop"},
    ],
)  # fmt: skip
def test_provenance_changes_with_every_option_but_the_workers(data, values):
    inputs = inputs_digest([data], CompareConfig())
    assert inputs_digest([data], CompareConfig(**values)) != inputs
    assert inputs_digest([data], CompareConfig(workers=3)) == inputs
    assert inputs_digest([data], CompareConfig(), {"image-0.jpg": "a"}) != inputs
    assert inputs_digest([data, data], CompareConfig()) != inputs


# ---- the protocol --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("no_curve")
def test_the_test_split_has_no_say_in_tuning(data, everything):
    rng = np.random.default_rng(3)
    test = everything[1].protocol.test
    scrambled = changed(data, rows=test, features=rng.normal(size=(len(test), 16)))
    scrambled = changed(scrambled, rows=test, label=rng.integers(3, size=len(test)))
    other, _ = compare([scrambled], TWICE)
    tuned = [(h.name, h.params, h.cv_accuracy, h.grid) for h in everything[0].heads]
    assert [(h.name, h.params, h.cv_accuracy, h.grid) for h in other.heads] == tuned
    assert other.heads[0].test_accuracy < everything[0].heads[0].test_accuracy


@pytest.mark.slow
@pytest.mark.usefixtures("no_curve")
def test_all_labelled_images_outside_the_test_split_are_trained_on():
    data = changed(feature_set(), rows=range(30), split="validation")
    data = changed(data, rows=range(30, 60), split="")
    comparison, outcome = compare([data], CompareConfig(heads=("knn",), repeats=1))
    assert outcome.protocol.train.tolist() == list(range(90))
    assert outcome.protocol.test.tolist() == list(range(90, 120))
    assert "90 training images (splits train, validation)" in comparison.protocol["tuned_on"]


@pytest.mark.slow
@given(
    st.lists(st.integers(3, 60), min_size=2, max_size=6),
    st.integers(0, 2**32 - 1),
    st.integers(0, 8),
)
def test_a_test_is_held_out_by_class_with_duplicates_on_one_side(counts, seed, n_duplicates):
    label = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    n = len(label)
    rng = np.random.default_rng(seed)
    data = changed(feature_set(n=n, k=len(counts), test=0), label=label, split=[""] * n)
    sha256 = data.sha256.copy()
    sha256[rng.integers(n, size=n_duplicates)] = sha256[rng.integers(n, size=n_duplicates)]
    data = changed(data, sha256=sha256)
    try:
        protocol = make_protocol(data, Rules(folds=2, seed=seed, holdout=True))
    except InputError:
        assert n_duplicates  # copies may leave a class with a single image
        return
    assert not protocol.predefined
    assert sorted([*protocol.train, *protocol.test]) == list(range(n))
    held_out = np.bincount(label[protocol.test], minlength=len(counts))
    assert np.bincount(label[protocol.train], minlength=len(counts)).min() >= 2
    if not n_duplicates:
        assert held_out.tolist() == [max(1, round(count / 5)) for count in counts]
    sides = [{sha256[row].tobytes() for row in side} for side in (protocol.train, protocol.test)]
    assert not sides[0] & sides[1]
    again = make_protocol(data, Rules(folds=2, seed=seed, holdout=True))
    assert np.array_equal(protocol.test, again.test)


@pytest.mark.slow
@pytest.mark.usefixtures("no_curve")
def test_a_held_out_test_is_stated():
    data = changed(feature_set(spread=2), split=[""] * 120)
    comparison, outcome = compare(
        [data], CompareConfig(heads=("knn",), repeats=1, seed=4, holdout=True)
    )
    assert comparison.dataset["test_split"] == "held out"
    assert len(outcome.protocol.test) == 24
    assert "20 % of each class was held out, drawn with seed 4" in comparison.protocol["test_split"]
    assert texts(comparison.warnings) == []
    assert comparison.dataset["images"].keys() == {""}


@pytest.mark.slow
def test_few_images_without_a_test_split_are_all_trained_on_and_scored_out_of_fold(tmp_path):
    data = changed(feature_set(spread=2), split=[""] * 120)
    comparison, outcome = compare([data], CompareConfig(heads=FAST))
    assert comparison.protocol["scored_on"] == comparison.dataset["test_split"] == "out of fold"
    assert comparison.protocol["n_train"] == comparison.protocol["n_test"] == 120
    assert comparison.protocol["repeats"] == 10
    assert "fitted on all" in comparison.protocol["test_split"]
    best = outcome.best
    right = best.head.out_of_fold.argmax(axis=1) == data.label
    assert comparison.heads[0].test_accuracy == right.mean() < 1
    low, high = metrics.accuracy_interval(right)
    ends = comparison.heads[0].test_accuracy_ci
    assert ends == metrics.accuracy_interval(right, worth=metrics.OUT_OF_FOLD)
    assert ends[0] < low < high < ends[1]
    assert "two thirds" in comparison.protocol["interval"]
    assert best.head.n_rows == 120
    write_results(tmp_path, comparison, outcome)
    rows = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert [row["path"] for row in rows] == data.path
    assert np.mean([row["correct"] == "true" for row in rows]) == right.mean()


@pytest.mark.slow
@pytest.mark.usefixtures("no_curve")
def test_out_of_fold_scores_are_those_of_an_honest_model():
    """Pure noise: a model scored on its own training images would look good."""
    data = changed(feature_set(n=90), split=[""] * 90)
    noise = np.random.default_rng(0).normal(size=(90, 60)).astype(np.float32)
    comparison, _ = compare([changed(data, features=noise)], CompareConfig(heads=FAST, repeats=2))
    assert comparison.heads[0].test_accuracy_ci[0] <= 1 / 3 + 0.05
    assert comparison.heads[0].test_accuracy < 0.5


@pytest.mark.slow
@pytest.mark.usefixtures("no_curve")
def test_a_predefined_validation_split_chooses(data):
    rows = range(60, 90)
    data = changed(data, rows=rows, split="validation")
    rules = {"heads": ("logistic-regression", "linear-svm", "knn"), "validation": "predefined"}
    comparison, outcome = compare([data], CompareConfig(**rules))
    assert len(outcome.protocol.train) == 90
    assert "named validation, 30 images" in comparison.protocol["tuned_on"]
    for head, entry in zip(comparison.heads, outcome.entries, strict=True):
        assert head.cv_std == 0
        assert round(head.cv_accuracy * 30, 6) == round(head.cv_accuracy * 30)
        outside = entry.head.out_of_fold
        assert np.isfinite(outside).all(axis=1).tolist() == [False] * 60 + [True] * 30
    # What is chosen depends on the validation images alone, what is fitted on all of them.
    noise = np.random.default_rng(0).integers(3, size=30)
    other, _ = compare([changed(data, rows=rows, label=noise)], CompareConfig(**rules))
    assert max(head.cv_accuracy for head in other.heads) < 0.7 < comparison.heads[0].cv_accuracy


@pytest.mark.further("tests/unit/heads/test_parts.py::test_balanced_weights_help_a_rare_class")
@pytest.mark.slow
@pytest.mark.usefixtures("no_curve")
def test_balanced_weights_help_a_rare_class(tmp_path):
    rng = np.random.default_rng(5)
    data = feature_set(n=600, k=2, d=8, test=0.5)
    label = (rng.random(600) < 0.08).astype(np.int32)
    features = rng.normal(size=(600, 8)).astype(np.float32)
    features[:, 0] += 1.5 * label
    data = changed(data, features=features, label=label)
    plain, balanced = (
        compare(
            [data], CompareConfig(heads=("logistic-regression",), repeats=1, class_weight=weight)
        )[0]
        for weight in (None, "balanced")
    )
    recall = [result.heads[0].per_class["recall"][1] for result in (plain, balanced)]
    assert recall[1] > recall[0] + 0.2
    assert balanced.protocol["class_weight"] == "balanced"


@pytest.mark.slow
def test_duplicates_of_training_images_are_left_out_of_a_second_figure():
    data = feature_set(spread=1.5)
    data = changed(data, rows=range(90, 100), sha256=data.sha256[:10])
    groups = {f"image-{i}.jpg": "scene" for i in (10, 100, 101)}
    comparison, outcome = compare([data], CompareConfig(heads=FAST, repeats=1), groups)
    apart = ~outcome.protocol.leaked
    assert np.flatnonzero(~apart).tolist() == list(range(12))
    assert comparison.protocol["n_leaked"] == 12
    for head, entry in zip(comparison.heads, outcome.entries, strict=True):
        right = entry.predicted == data.label[outcome.protocol.test]
        assert head.test_accuracy == right.mean()
        assert head.test_accuracy_without_leakage == right[apart].mean()
        low, high = head.test_accuracy_without_leakage_ci
        assert low <= right[apart].mean() <= high
    ungrouped, exact, grouped, without = texts(comparison.warnings)
    assert ungrouped.startswith("117 of ")
    assert "byte-for-byte duplicates" in exact
    assert "other images of their groups" in grouped
    best = comparison.heads[0]
    assert f"has {best.test_accuracy_without_leakage:.1%} test accuracy" in without
    assert f"on {apart.sum()} test images" in without


@pytest.mark.slow
def test_a_test_split_of_copies_is_no_score():
    """Every test image is a copy: no number, no rule of three, no promise of a number."""
    data = feature_set(spread=0.2)
    test = np.flatnonzero(np.array(data.split) == "test")
    train = np.flatnonzero(np.array(data.split) != "test")
    sha256 = data.sha256.copy()
    sha256[test] = sha256[train[: len(test)]]
    comparison, _ = compare([changed(data, sha256=sha256)], CompareConfig(heads=FAST, repeats=1))
    assert comparison.protocol["n_leaked"] == comparison.protocol["n_test"] == len(test)
    assert comparison.heads[0].test_accuracy == 1
    text = " ".join(texts(comparison.warnings))
    assert "No test image is independent" in text
    assert f"{comparison.heads[0].cv_accuracy:.1%}" in text
    assert "rule of three" not in text
    assert "Without leakage" not in text
    results = comparison.to_json()
    shown = leaderboard.as_html(results)
    assert "<th>test</th>" not in shown
    assert f"none of {len(test)} test images independent" in shown


def test_groups_that_name_no_image_are_refused():
    with pytest.raises(InputError, match=r"use the paths of the store, for instance image-0\.jpg"):
        compare([feature_set()], CompareConfig(), {"IMG-0.jpg": "a"})


# ---- several backbones ---------------------------------------------------------------------------


def second(data, spread, name="noisy", keep=None):
    """The same images through another backbone, in another order, perhaps not all of them."""
    rng = np.random.default_rng(8)
    rows = rng.permutation(len(data.path))[:keep]
    centres = rng.normal(size=(len(data.classes), 6))
    features = centres[data.label[rows]] + spread * rng.normal(size=(len(rows), 6))
    return dataclasses.replace(
        data,
        features=features.astype(np.float32),
        path=[data.path[row] for row in rows],
        label=data.label[rows],
        split=[data.split[row] for row in rows],
        sha256=data.sha256[rows],
        pixels=None,
        extraction={"backbone": {"name": name}},
        digest=name,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("no_curve")
def test_backbones_are_compared_head_by_head_on_the_images_that_all_hold(data):
    noisy, clear = second(data, 9, "noisy", keep=110), second(data, 0.2, "clear")
    lines = []
    comparison, outcome = compare(
        [noisy, clear, data], CompareConfig(heads=FAST, repeats=1), progress=lines.append
    )
    boards = [(head.backbone, head.name) for head in comparison.heads]
    assert sorted(boards) == sorted((b, h) for b in ("noisy", "clear", "gaussian") for h in FAST)
    assert comparison.best_backbone == "clear" == comparison.heads[0].backbone
    assert comparison.extraction["digest"] == "clear"
    assert comparison.heads[0].verdict == "best"
    for head in comparison.heads:
        assert head.verdict == "worse" or head.backbone != "noisy"
    assert [entry["backbone"] for entry in comparison.backbones] == ["noisy", "clear", "gaussian"]
    assert [entry["dim"] for entry in comparison.backbones] == [6, 6, 16]
    assert "left out: 0 of noisy, 10 of clear, 10 of gaussian" in texts(comparison.warnings)[0]
    assert comparison.dataset["n_images"] == 110
    assert lines[0].startswith("noisy, logistic-regression: ")
    # Every head has seen the same images, and been asked about the same.
    assert outcome.best.data.extraction["backbone"]["name"] == "clear"
    for entry in outcome.entries:
        assert len(entry.data.path) == 110
        assert entry.data.path == outcome.best.data.path
        again = entry.head.estimator.predict_proba(entry.data.features[outcome.protocol.test])
        assert np.array_equal(again, entry.probabilities)


@pytest.mark.further("test_backbones_are_compared_head_by_head_on_the_images_that_all_hold")
@pytest.mark.slow
@pytest.mark.usefixtures("no_curve")
def test_a_backbone_does_in_company_what_it_does_alone(data):
    config = CompareConfig(heads=FAST, repeats=1)
    alone, _ = compare([data], config)
    together, _ = compare([data, second(data, 0.2)], config)
    figures = {
        head.name: (head.params, head.cv_accuracy, head.test_accuracy_ci, head.confusion)
        for head in together.heads
        if head.backbone == "gaussian"
    }
    for head in alone.heads:
        assert figures[head.name] == (
            head.params, head.cv_accuracy, head.test_accuracy_ci, head.confusion
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("no_curve")
def test_every_store_s_features_are_checked(data):
    other = second(data, 1)
    other.features[3, 0] = np.inf
    with pytest.raises(InputError, match="has features that are NaN, infinite or too large"):
        compare([data, other], CompareConfig(heads=("knn",)))
    other.features[:] = 1
    comparison, _ = compare([data, other], CompareConfig(heads=("knn",), repeats=1))
    assert texts(comparison.warnings)[0].startswith("noisy: All images have the same")


# ---- warnings ------------------------------------------------------------------------------------


def warnings_of(data, **config):
    comparison, _ = compare([data], CompareConfig(heads=("knn",), repeats=1, **config))
    return texts(comparison.warnings)


@pytest.mark.slow
def test_copies_across_the_splits_are_counted_not_removed():
    data = feature_set()
    data = changed(data, rows=[90, 91], sha256=data.sha256[:2])
    comparison, outcome = compare([data], CompareConfig(heads=("knn",), repeats=1))
    warning, without = texts(comparison.warnings)
    assert without.startswith("Without leakage")
    assert warning.startswith("Leakage: 2 test images (of 30) have byte-for-byte duplicates")
    assert len(outcome.protocol.test) == 30


@pytest.mark.slow
def test_unlabelled_and_failed_images_are_told():
    data = changed(feature_set(), rows=range(5), label=-1)
    data = changed(data, rows=[0], features=np.nan)  # takes no part, so it does no harm
    data = changed(data, failures=[("b\n.jpg", "truncated"), ("c.jpg", "truncated")])
    comparison, outcome = compare([data], CompareConfig(heads=("knn",), repeats=1))
    assert texts(comparison.warnings) == [
        "Left out, because they have no label: 5 images.",
        r"2 images could not be used, the first of them b\n.jpg: truncated.",
    ]
    assert outcome.protocol.train.min() == 5
    assert comparison.dataset["failure_reasons"] == {"truncated": 2}
    assert comparison.dataset["failures"] == 2


@pytest.mark.slow
def test_a_small_class_reduces_the_folds():
    label = np.array([0] * 50 + [1] * 40 + [2] * 3, dtype=np.int32)
    data = changed(feature_set(n=93, test=0), label=label, split=["train"] * 92 + ["test"])
    comparison, _ = compare([data], CompareConfig(heads=("knn",), repeats=1))
    assert comparison.protocol["folds"] == 2
    assert texts(comparison.warnings)[0] == (
        "Cross-validation uses 2 folds, because class-2 has only 2 training images."
    )


@pytest.mark.slow
def test_a_class_only_in_the_test_counts_as_errors():
    data = changed(feature_set(), rows=range(90), label=np.arange(90) % 2)
    comparison, outcome = compare([data], CompareConfig(repeats=1))
    assert texts(comparison.warnings)[0] == (
        "class-2 has no training images: 10 test images cannot be classified correctly."
    )
    for head, entry in zip(comparison.heads, outcome.entries, strict=True):
        assert head.confusion[2][2] == 0
        assert head.test_accuracy <= 2 / 3
        assert entry.probabilities[:, 2].max() == 0
        assert np.isfinite(head.log_loss)


@pytest.mark.slow
def test_a_class_without_images_is_named():
    data = changed(feature_set(), classes=("class-0", "class-1", "class-2", "ghost"))
    comparison, _ = compare([data], CompareConfig(heads=FAST, repeats=1))
    assert texts(comparison.warnings)[0] == "ghost has no images and can never be predicted."
    assert comparison.dataset["images"]["train"]["ghost"] == 0


@pytest.mark.slow
def test_a_test_without_errors_is_no_proof():
    data = feature_set(n=120, spread=0.01, test=0.25)
    best = compare([data], CompareConfig(heads=("logistic-regression",), repeats=1))[0].heads[0]
    assert best.test_accuracy == 1
    assert best.test_accuracy_ci[0] < 0.95


@pytest.mark.slow
@pytest.mark.usefixtures("no_curve")
def test_the_rows_that_a_model_of_neighbours_keeps_are_told(monkeypatch):
    monkeypatch.setattr(scoring, "LARGE_MODEL", 0.005)
    for head, told in (("knn", True), ("logistic-regression", False)):
        comparison, _ = compare([feature_set()], CompareConfig(heads=(head,), repeats=1))
        assert any("kNN keeps" in text for text in texts(comparison.warnings)) == told
    monkeypatch.setattr(scoring, "LARGE_MODEL", 1.0)
    assert not any("keeps the features" in text for text in warnings_of(feature_set()))


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("features", [np.zeros((120, 16)), np.ones((120, 16)), np.ones((120, 1))])
def test_features_that_say_nothing_are_told(features):
    (warning,) = warnings_of(changed(feature_set(), features=features.astype(np.float32)))
    assert warning.startswith("All images have the same normalised features")


# ---- bad input -----------------------------------------------------------------------------------

HALF = np.arange(120) % 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": np.full(120, -1)}, "blobs has no labelled images; put the images of each class"),
        ({"label": np.zeros(120, int)},
         "all training images are of the class class-0; add images of another class"),
        ({"label": np.where(np.arange(120) == 7, 1, 0)},
         "class-1 has 1 training image; add images"),
        ({"label": np.r_[1, 2, np.zeros(118, int)]},
         "class-1, class-2 have 1 training image each; add images"),
        ({"split": ["test"] * 120}, "all labelled images of blobs are in the split test"),
        ({"label": HALF, "sha256": np.zeros((120, 32), np.uint8), "split": [""] * 120},
         "the training images of class-0, class-1 are all in one group (or duplicates)"),
        ({"label": HALF, "sha256": np.zeros((120, 32), np.uint8)},
         "the training images of class-0, class-1 are all in one group (or duplicates)"),
        ({"label": np.arange(120) // 2, "split": [""] * 120, "classes": tuple("c" * 60)},
         "there are too few distinct images to hold some out as a test"),
    ],
)  # fmt: skip
def test_unusable_data_is_refused_in_one_line(change, message):
    if "label" in change:
        change["label"] = change["label"].astype(np.int32)
    undivided = "split" in change and not any(change["split"])
    with pytest.raises(InputError) as caught:
        compare([changed(feature_set(), **change)], CompareConfig(holdout=undivided or None))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_features_that_are_not_finite_name_the_image(value, monkeypatch):
    monkeypatch.setattr(remarks, "BLOCK", 50)
    data = feature_set()
    data.features[[40, 100], 3] = value
    with pytest.raises(InputError, match=r"^image-40\.jpg has features .* 1 more image"):
        compare([data], CompareConfig())
    data.features[40, 3] = 0
    with pytest.raises(InputError, match=r"^image-100\.jpg has features that are NaN, infinite or"):
        compare([data], CompareConfig())


@pytest.mark.parametrize(
    "values",
    [
        {"folds": 1}, {"seed": -1}, {"seed": 2**32}, {"workers": 0}, {"heads": ()},
        {"heads": ("k-nn",)},
    ],
)  # fmt: skip
def test_a_wrong_configuration_is_refused_before_any_work(values):
    with pytest.raises(InputError):
        CompareConfig(**values)


# ---- small and odd -------------------------------------------------------------------------------


@pytest.mark.further("tests/contract/test_heads.py::test_two_images_a_class_are_enough")
@pytest.mark.slow
def test_two_training_images_a_class_are_enough_for_all_heads():
    data = feature_set(n=6, k=2, d=40, spread=0.1, test=1 / 3, pixels=True)
    comparison, _ = compare([data], CompareConfig())
    assert comparison.protocol["folds"] == 2
    assert [head.test_accuracy for head in comparison.heads] == [1] * 5


@pytest.mark.further("tests/contract/test_heads.py::test_two_images_a_class_are_enough")
@pytest.mark.slow
def test_more_features_than_images():
    comparison, _ = compare([feature_set(n=60, d=500, spread=0.5)], CompareConfig(repeats=1))
    assert comparison.heads[0].test_accuracy > 0.9


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("sign", [1, -1])
def test_one_feature_is_enough_to_run(sign):
    """Normalised, one feature is its sign; where all have the same, no head can tell."""
    data = feature_set(n=60, k=2, d=1)
    features = np.where(data.label == 0, sign, 1)[:, None] * np.linspace(1, 9, 60)[:, None]
    data = changed(data, features=features.astype(np.float32))
    comparison, _ = compare([data], CompareConfig(repeats=1))
    assert len(comparison.heads) == 5
    for head in comparison.heads:
        assert head.test_accuracy == 1 if sign == -1 else head.test_accuracy <= 0.6
    told = any("same normalised features" in text for text in texts(comparison.warnings))
    assert told == (sign == 1)


@pytest.mark.slow
def test_two_features_are_at_fault_and_not_the_labels():
    data = feature_set(n=80, k=4, d=2, spread=2.0)
    comparison, outcome = compare([data], CompareConfig(heads=FAST, repeats=1))
    assert any("2 features only" in text for text in texts(comparison.warnings))
    assert not any("Correct the labels" in text for text in texts(comparison.warnings))
    assert comparison.insights.label_errors.suspects == 0 == len(outcome.suspects.errors.suspects)


@pytest.mark.further("tests/contract/test_heads.py::test_degenerate_features_give_a_head")
@pytest.mark.slow
def test_constant_features_change_nothing_that_matters():
    data = feature_set(spread=0.3)
    wide = np.hstack([data.features, np.zeros((120, 5)), np.full((120, 2), 0.1)])
    comparison, _ = compare(
        [changed(data, features=wide.astype(np.float32))], CompareConfig(repeats=1)
    )
    assert comparison.heads[0].test_accuracy > 0.9


@pytest.mark.slow
def test_some_images_without_any_feature():
    data = changed(feature_set(spread=0.3), rows=[0, 1, 95], features=0)
    comparison, _ = compare([data], CompareConfig(repeats=1))
    assert comparison.heads[0].test_accuracy > 0.8


@pytest.mark.slow
def test_many_classes():
    data = feature_set(n=450, k=150, d=64, spread=0.1, test=1 / 3)
    comparison, _ = compare([data], CompareConfig(heads=FAST, repeats=1))
    assert comparison.heads[0].test_accuracy > 0.9


@pytest.mark.slow
def test_the_mean_of_heads_is_one_more_row_that_costs_no_fit(data):
    names, steps = ("knn", "linear-svm", "mean-of-heads"), []
    config = CompareConfig(heads=names, repeats=1)
    comparison, outcome = compare([data], config, step=steps.append)
    assert len(steps) == count_steps([data], config)
    assert sorted(head.name for head in comparison.heads) == sorted(names)
    entries = {entry.head.name: entry for entry in outcome.entries}
    each = [entries[name].probabilities for name in names[:2]]
    assert np.array_equal(entries["mean-of-heads"].probabilities, np.mean(each, axis=0))
    row = next(head for head in comparison.heads if head.name == "mean-of-heads")
    assert row.params == {"heads": "knn, linear-svm"}
    assert row.seconds < 1
    assert comparison.insights.learning_curve.head in names[:2]
