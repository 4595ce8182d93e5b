"""Remarks appear where their cause is, and nowhere else; grids grow at their ends."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from factories import feature_set
from headstart.evaluation.compare import CompareConfig, compare
from headstart.evaluation.compare.remarks import _agreement, _apart, _folders
from headstart.heads import HEADS
from headstart.heads.grids import ends, grown
from headstart.heads.search import FittedHead


def remarks_of(data, groups=None, ignore=()):
    config = CompareConfig(heads=("logistic-regression",), repeats=1, ignore=ignore)
    comparison, _ = compare([data], config, groups)
    return {remark.topic: remark.text for remark in comparison.insights.remarks}


@pytest.mark.slow
def test_clean_data_gets_no_remark():
    data = feature_set(n=300, spread=1, k=3)
    order = np.random.default_rng(0).permutation(300)
    split = np.array(["train", "test"])[(np.arange(300) % 2)][order].tolist()
    assert remarks_of(dataclasses.replace(data, split=split)) == {}


@pytest.mark.slow
def test_raw_pixels_as_good_as_the_features_are_named():
    data = feature_set(n=120, spread=9, k=3, split=["train"] * 60 + ["test"] * 60)
    pixels = np.zeros((120, 32, 32, 3), np.uint8)
    pixels[:] = (80 * data.label)[:, None, None, None]
    found = remarks_of(dataclasses.replace(data, pixels=pixels))
    assert "Raw pixels" in found["baseline"]
    assert remarks_of(dataclasses.replace(data, pixels=pixels), ignore=("HS201",)) == {}


@pytest.mark.slow
def test_a_test_split_from_elsewhere_is_named():
    data = feature_set(n=300, d=12, spread=1, k=3, split=["train"] * 150 + ["test"] * 150)
    features = data.features.copy()
    features[150:, :6] += 4.0
    found = remarks_of(dataclasses.replace(data, features=features))
    assert "test images" in found["split"]


@pytest.mark.slow
def test_a_harder_test_split_is_named():
    data = feature_set(n=300, spread=1, k=3, split=["train"] * 150 + ["test"] * 150)
    label = data.label.copy()
    label[150:] = np.random.default_rng(0).integers(3, size=150)
    found = remarks_of(dataclasses.replace(data, label=label))
    assert "harder" in found["split"]


@pytest.mark.slow
def test_groups_that_tell_the_label_are_named():
    data = feature_set(n=120, spread=1, k=3, split=["train"] * 60 + ["test"] * 60)
    by_class = {
        path: f"{code}{row // 30}"
        for row, (path, code) in enumerate(zip(data.path, data.label, strict=True))
    }
    assert "groups" in remarks_of(data, by_class)
    bursts = {path: str(row // 2) for row, path in enumerate(data.path)}
    assert "groups" not in remarks_of(data, bursts)


@pytest.mark.slow
def test_file_types_that_tell_the_label_are_named():
    data = feature_set(n=120, spread=1, k=3, split=["train"] * 60 + ["test"] * 60)
    kinds = ("jpg", "png", "png")
    path = [f"{row}.{kinds[code]}" for row, code in enumerate(data.label)]
    assert "file types" in remarks_of(dataclasses.replace(data, path=path))["groups"]


def test_folders_of_classes_and_splits_are_no_source():
    paths = ["train/cat/1.jpg", "camera 1/cat/1.jpg", "2.jpg", "camera 1/cat/3.jpg"]
    assert _folders(paths, ("cat",)) == ["", "camera 1", "", "camera 1"]


def test_pairs_of_a_source_are_set_against_all_pairs():
    source = np.array([0, 0, 1, 1, 2])
    same, guessed = _agreement(source, np.array([0, 0, 1, 2, 1]))
    assert same == pytest.approx(0.5)
    assert guessed == pytest.approx(0.2)


def test_equal_splits_are_not_told_apart():
    data = feature_set(n=400, d=20, k=4)
    order = np.random.default_rng(0).permutation(400)
    assert _apart(data, order[:200], order[200:]) < 0.6
    assert _apart(data, order[:10], order[10:]) is None


def fitted(family, params, candidates):
    grid = [{"params": p, "cv_accuracy": a, "cv_std": 0.0} for p, a in candidates]
    best = max(a for _, a in candidates)
    return FittedHead(family, family, params, best, 0.0, grid, None, 0.0, np.empty((0, 2)), 100)


def test_a_grid_grows_where_its_best_value_is_at_an_end():
    family = HEADS["linear-svm"]
    values = family.grid["C"]
    rising = [({"C": c}, 0.5 + 0.01 * i) for i, c in enumerate(values)]
    top = fitted("linear-svm", {"C": values[-1]}, rising)
    assert ends(top) == {"C": 1}
    longer = grown(family.grid, top)["C"]
    assert longer[: len(values)] == tuple(values)
    assert len(longer) == len(values) + 3
    assert longer[-1] == pytest.approx(values[-1] * (values[-1] / values[-2]) ** 3, rel=0.01)
    equal = fitted("linear-svm", {"C": values[0]}, [({"C": c}, 0.9) for c in values])
    assert ends(equal) == {}
    assert grown(family.grid, equal) is None
    falling = fitted(
        "linear-svm",
        {"C": values[0]},
        [({"C": c}, -a["C"]) for a, c in zip([p for p, _ in rising], values, strict=True)],
    )
    assert grown(family.grid, falling)["C"][3:] == tuple(values)


def test_calibration_has_no_part_in_whether_a_grid_grows():
    rising = [({"C": c}, 0.5 + 0.01 * i) for i, c in enumerate(HEADS["linear-svm"].grid["C"])]
    top = fitted("linear-svm", rising[-1][0], rising)
    assert ends(dataclasses.replace(top, cv_accuracy=0.5)) == {"C": 1}
    flat = fitted("linear-svm", rising[-1][0], [(params, 0.9) for params, _ in rising])
    assert ends(dataclasses.replace(flat, cv_accuracy=0.95)) == {}


def test_neighbours_grow_upwards_only():
    family = HEADS["knn"]
    tried = [({"n_neighbors": k, "gamma": 10.0}, 0.5 + k / 100) for k in (40, 20, 10, 5)]
    most = fitted("knn", tried[0][0], tried)
    assert grown(family.grid, most)["n_neighbors"][:4] == (320, 160, 80, 40)
    fewest = fitted("knn", tried[-1][0], [(p, 1 - a) for p, a in tried])
    assert ends(fewest) == {}
