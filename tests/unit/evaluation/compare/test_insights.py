"""What a comparison tells besides scores: copies, doubtful labels, a curve, scores of backbones."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest
from factories import texts
from headstart.core.records import FeatureSet
from headstart.evaluation.compare import CompareConfig, compare, write_results
from headstart.heads import HEADS

pytestmark = pytest.mark.slow

FAST = ("logistic-regression", "knn")


def photos(n=240, k=3, d=16, spread=0.8, seed=0):
    """Return Gaussian classes with miniatures that have nothing in common."""
    rng = np.random.default_rng(seed)
    label = (np.arange(n) % k).astype(np.int32)
    coarse = rng.integers(0, 256, (n, 4, 4, 3), np.uint8)
    return FeatureSet(
        features=(rng.normal(size=(k, d))[label] + spread * rng.normal(size=(n, d))).astype("f4"),
        path=[f"{'test' if i % 4 == 3 else 'train'}/image-{i}.jpg" for i in range(n)],
        label=label,
        split=["test" if i % 4 == 3 else "train" for i in range(n)],
        sha256=rng.integers(256, size=(n, 32), dtype=np.uint8),
        classes=tuple(f"class-{i}" for i in range(k)),
        extraction={"backbone": {"name": "gaussian"}},
        digest="d1",
        pixels=coarse.repeat(8, axis=1).repeat(8, axis=2),
        failures=[],
        name="blobs",
    )


def copied(data, source, to, same_bytes=False, label=None):
    """Return the data with one image a copy of another."""
    features, pixels = data.features.copy(), data.pixels.copy()
    sha256, labels = data.sha256.copy(), data.label.copy()
    features[to] = features[source] + (0 if same_bytes else 1e-3)
    pixels[to] = pixels[source]
    labels[to] = labels[source] if label is None else label
    if same_bytes:
        sha256[to] = sha256[source]
    return dataclasses.replace(data, features=features, pixels=pixels, sha256=sha256, label=labels)


def table(folder, name):
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Compare with: a near-duplicate across splits, an exact one, two labels of one image."""
    data = copied(photos(), 0, 3)
    data = copied(data, 4, 7, same_bytes=True)
    data = copied(data, 8, 9, same_bytes=True, label=(int(data.label[8]) + 1) % 3)
    folder = tmp_path_factory.mktemp("insights")
    comparison, outcome = compare([data], CompareConfig(heads=FAST, repeats=1))
    write_results(folder, comparison, outcome)
    return data, comparison, outcome, folder


def test_copies_are_listed_with_their_splits_and_closest_duplicate(outcome):
    _, comparison, _, folder = outcome
    rows = table(folder, "duplicates.csv")
    assert [(row["group"], row["path"], row["kind"]) for row in rows] == [
        ("0", "train/image-0.jpg", "near"),
        ("0", "test/image-3.jpg", "near"),
        ("1", "train/image-4.jpg", "exact"),
        ("1", "test/image-7.jpg", "exact"),
        ("2", "train/image-8.jpg", "exact"),
        ("2", "train/image-9.jpg", "exact"),
    ]
    assert [row["used"] for row in rows] == ["train", "test", "train", "test", "train", "train"]
    assert rows[0]["closest"] == rows[1]["path"]
    assert float(rows[0]["cosine"]) > 0.999
    assert float(rows[0]["correlation"]) == pytest.approx(1)
    told = comparison.insights.duplicates
    assert (told.images, told.groups, told.exact, told.near) == (6, 3, 4, 2)


def test_leaked_test_images_are_named_and_left_out_of_a_second_accuracy(outcome):
    data, comparison, done, _ = outcome
    told = comparison.insights.duplicates
    assert told.leaked_test_images == ["test/image-3.jpg", "test/image-7.jpg"]
    apart = [i for i, row in enumerate(done.protocol.test) if row not in (3, 7)]
    for head, entry in zip(comparison.heads, done.entries, strict=True):
        correct = entry.predicted == data.label[done.protocol.test]
        assert head.test_accuracy_without_leakage == pytest.approx(correct[apart].mean())
    leaks = [warning for warning in texts(comparison.warnings) if warning.startswith("Leakage")]
    assert ["byte-for-byte" in leak for leak in leaks] == [True, False]
    assert "near-duplicates" in leaks[1]


def test_copies_are_in_one_fold():
    data = photos(spread=4)
    for source in range(0, 120, 4):
        data = copied(data, source, source + 1)
    comparison, done = compare([data], CompareConfig(heads=("knn",), repeats=1))
    assert "groups kept in one fold" in comparison.protocol["tuned_on"]
    assert done.protocol.group[0] == done.protocol.group[1]
    apart, _ = compare([data], CompareConfig(heads=("knn",), repeats=1, near_duplicates=False))
    assert "groups" not in apart.protocol["tuned_on"]
    assert apart.heads[0].cv_accuracy > comparison.heads[0].cv_accuracy  # what the leak is worth


def test_a_class_whose_images_are_all_alike_is_divided_all_the_same():
    """One burst of photos may be all that there is of a class: no reason to stop."""
    data = photos()
    first, *others = np.flatnonzero((data.label == 1) & (np.array(data.split) == "train"))
    for row in others:
        data = copied(data, first, row)
    comparison, _ = compare([data], CompareConfig(heads=("knn",), repeats=1))
    assert comparison.protocol["folds"] == 5
    (warning,) = [
        w for w in texts(comparison.warnings) if "look like near-duplicates of one another" in w
    ]
    assert "All training images of class-1" in warning


def test_test_images_like_a_class_of_copies_count_as_leaked_though_it_is_divided():
    data = photos()
    first, *others = np.flatnonzero((data.label == 1) & (np.array(data.split) == "train"))
    for row in (*others, 7, 19):  # the last two are test images of that class
        data = copied(data, first, row)
    comparison, done = compare([data], CompareConfig(heads=("knn",), repeats=1))
    assert done.protocol.test[done.protocol.leaked].tolist() == [7, 19]
    assert comparison.protocol["n_leaked"] == 2
    named = comparison.insights.duplicates.leaked_test_images
    assert named == ["test/image-7.jpg", "test/image-19.jpg"]
    correct = done.best.predicted == data.label[done.protocol.test]
    apart = ~done.protocol.leaked
    assert comparison.heads[0].test_accuracy_without_leakage == pytest.approx(correct[apart].mean())
    assert len(np.unique(done.protocol.group[[first, *others]])) == len(others) + 1


def test_contradicting_labels_name_the_files(outcome):
    _, comparison, _, _ = outcome
    pair = ("train/image-8.jpg", "train/image-9.jpg")
    assert comparison.insights.duplicates.label_conflicts == [pair]
    (warning,) = [w for w in texts(comparison.warnings) if "different labels" in w]
    assert warning.startswith("Identical images have different labels: train/image-8.jpg (class-2)")
    assert "train/image-9.jpg (class-0)" in warning
    contradicting = copied(photos(), 0, 1, label=1)
    (warning,) = [
        w
        for w in texts(
            compare([contradicting], CompareConfig(heads=("knn",), repeats=1))[0].warnings
        )
        if "different labels" in w
    ]
    assert warning.startswith("Near-identical images have different labels: train/image-0.jpg")


def test_clean_data_give_tables_with_a_header_alone(tmp_path):
    comparison, done = compare([photos(spread=0.2)], CompareConfig(heads=("knn",), repeats=1))
    write_results(tmp_path, comparison, done)
    assert comparison.insights.label_errors.suspects == 0
    assert len((tmp_path / "label_issues.csv").read_text().splitlines()) == 1
    assert len((tmp_path / "duplicates.csv").read_text().splitlines()) == 1


@pytest.mark.cases(1)
@pytest.mark.parametrize("heads", [("logistic-regression",), ("linear-svm",)])
def test_flipped_labels_are_in_the_table_whatever_head_was_asked_for(heads, tmp_path):
    data = photos(spread=0.3)
    label = data.label.copy()
    flipped = np.array([0, 1, 2, 4, 5, 6])
    label[flipped] = (label[flipped] + 1) % 3
    comparison, done = compare(
        [dataclasses.replace(data, label=label)], CompareConfig(heads=heads, repeats=1)
    )
    write_results(tmp_path, comparison, done)
    rows = table(tmp_path, "label_issues.csv")
    assert {row["path"] for row in rows} == {data.path[i] for i in flipped}
    for row in rows:
        at = data.path.index(row["path"])
        assert row["given"] == data.classes[label[at]]
        assert row["suggested"] == data.classes[data.label[at]]
        assert row["split"] == "train"
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores)
    assert comparison.insights.label_errors.images == 180


def test_a_predefined_validation_split_is_judged_alone():
    data = photos()
    split = ["validation" if i % 4 == 1 else name for i, name in enumerate(data.split)]
    comparison, done = compare(
        [dataclasses.replace(data, split=split)],
        CompareConfig(heads=FAST, validation="predefined"),
    )
    assert comparison.insights.label_errors.images == 60
    assert {split[row] for row in done.suspects.rows} == {"validation"}
    assert len(comparison.insights.learning_curve.points) >= 6


@pytest.mark.cases(2)
@pytest.mark.parametrize("head", HEADS)
def test_the_curve_rises_to_the_cross_validated_accuracy(head):
    comparison, _ = compare([photos(n=400, spread=1.5)], CompareConfig(heads=(head,), repeats=1))
    curve = comparison.insights.learning_curve
    assert curve.head == head
    assert len(curve.points) == 8
    accuracies = [point.accuracy for point in curve.points]
    assert accuracies[0] < accuracies[-1]
    # All sizes have the answers of the search, without calibration; SVMs' are votes there.
    best = comparison.heads[0]
    searched = next(each["cv_accuracy"] for each in best.grid if each["params"] == best.params)
    assert accuracies[-1] == pytest.approx(searched, abs=0.01 if "svm" in head else 1e-9)
    assert curve.doubling.images == 600


def test_the_curve_does_not_see_the_test_split():
    data = photos()
    test = np.array([split == "test" for split in data.split])
    rng = np.random.default_rng(1)
    features = data.features.copy()
    features[test] = rng.normal(size=(test.sum(), 16))
    curves = [
        compare([each], CompareConfig(heads=("knn",), repeats=1))[0].insights.learning_curve
        for each in (data, dataclasses.replace(data, features=features))
    ]
    assert curves[0] == curves[1]


@pytest.mark.further(
    "tests/unit/evaluation/test_transferability.py::test_log_me_is_the_largest_evidence"
)
def test_scores_put_the_better_backbone_first():
    data = photos()
    noise = dataclasses.replace(
        data,
        features=np.random.default_rng(5).normal(size=data.features.shape).astype(np.float32),
        extraction={"backbone": {"name": "noise"}},
        digest="d2",
    )
    comparison, _ = compare([noise, data], CompareConfig(heads=("knn",), repeats=1))
    bad, good = (backbone["scores"] for backbone in comparison.backbones)
    assert comparison.best_backbone == "gaussian"
    assert good.keys() == {"logme"}
    assert good["logme"] > bad["logme"]
    alone, _ = compare([data], CompareConfig(heads=("knn",), repeats=1))
    assert alone.backbones[0]["scores"] == {}
