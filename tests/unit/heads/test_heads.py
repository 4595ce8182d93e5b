"""The families' own rules, the names of heads, and the baselines; tests/contract has the rest."""

from __future__ import annotations

import dataclasses
import os
import time

import numpy as np
import pytest
from factories import training_set
from headstart.core.errors import InputError
from headstart.core.parallel.blas import run_parallel
from headstart.heads import HEADS, by_name, search
from headstart.heads.baselines import MostFrequentClass, RawPixels, averaged
from headstart.heads.folds import stratified_folds
from headstart.heads.search import Candidate, class_probabilities, climb
from headstart.heads.training_set import TrainingSet, squared_distances
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

PLAIN = {
    "logistic-regression": LogisticRegression(max_iter=5000),
    "linear-svm": SVC(kernel="linear"),
    "rbf-svm": SVC(kernel="rbf"),
    "knn": KNeighborsClassifier(metric="euclidean"),
}


@pytest.fixture(autouse=True, scope="module")
def one_blas_thread():
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def overlapping():
    return training_set(spread=2.0)


@pytest.fixture(scope="module")
def separable():
    return training_set(n=240, k=4, spread=0.2)


@pytest.mark.slow
def test_the_climb_along_c_loses_nothing_to_the_full_grid(overlapping):
    family = HEADS["logistic-regression"]
    head = family.search(overlapping)
    assert len(head.grid) < len(family.grid["C"])  # it stopped early, or this shows nothing
    plain = GridSearchCV(
        make_pipeline(Normalizer(), PLAIN[family.name]),
        {"logisticregression__C": family.grid["C"]},
        cv=PredefinedSplit(overlapping.fold),
    ).fit(overlapping.features, overlapping.labels)
    assert head.cv_accuracy >= plain.best_score_ - 0.02  # it chooses by log loss


@pytest.mark.slow
def test_among_equals_the_simplest_is_chosen(separable):
    svm = HEADS["linear-svm"].search(separable)
    assert svm.cv_accuracy == 1
    perfect = [tried["params"] for tried in svm.grid if tried["cv_accuracy"] == 1]
    assert svm.params == perfect[0] == min(perfect, key=lambda params: params["C"])
    rbf = HEADS["rbf-svm"].search(separable)
    assert rbf.params == {"C": 0.5, "gamma": min(t["params"]["gamma"] for t in rbf.grid)}
    knn = HEADS["knn"].search(separable)
    assert knn.params["n_neighbors"] == max(
        t["params"]["n_neighbors"] for t in knn.grid if t["cv_accuracy"] == 1
    )


def test_logistic_regression_breaks_ties_by_log_loss(separable):
    head = HEADS["logistic-regression"].search(separable)
    assert head.cv_accuracy == head.grid[0]["cv_accuracy"] == 1
    assert head.params["C"] > head.grid[0]["params"]["C"]
    probabilities = class_probabilities(head.estimator, separable.features, 4)
    assert probabilities.max(axis=1).mean() > 0.95  # with the smallest C it would be 0.26


def test_a_copy_of_an_image_decides_a_vote_of_the_nearest():
    base = training_set(n=40, k=2, d=8, spread=3.0)
    features = np.repeat(base.features, 2, axis=0)
    labels = np.repeat(base.labels, 2)
    data = TrainingSet(
        features, labels, np.arange(80) % 2
    )  # each image's copy is in the other fold
    head = HEADS["knn"].search(data)
    nearest = [t["cv_accuracy"] for t in head.grid if t["params"]["n_neighbors"] == 1]
    assert nearest == [1] * len(nearest)
    assert head.cv_accuracy == 1


def test_squared_distances_are_exact_for_equal_rows_and_close_for_others():
    rows = training_set(n=50, d=1280).rows
    rows = np.concatenate([rows, rows[:5], np.zeros((1, 1280), np.float32)])
    n = np.arange(len(rows))
    found = squared_distances(rows @ rows.T, n, n)
    assert np.count_nonzero(found == 0) == len(rows) + 2 * 5
    expected = ((rows[:, None].astype(float) - rows[None]) ** 2).sum(axis=2)
    assert found == pytest.approx(expected, abs=1e-5)


def test_climb_stops_two_steps_below_the_best():
    heights = [0.5, 0.8, 0.7, 0.8, 0.79, 0.78, 0.99]
    tried = climb(range(7), lambda i: Candidate({"C": i}, (heights[i],)), patience=2)
    assert [candidate.params["C"] for candidate in tried] == [0, 1, 2, 3, 4, 5]


def test_climb_goes_through_the_grid_if_told_to():
    tried = climb(range(7), lambda i: Candidate({"C": i}, (1 - i / 10,)), patience=None)
    assert len(tried) == 7


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 4])
def test_a_saturated_svm_is_that_of_every_larger_c(k):
    data = training_set(n=120, k=k, d=60, spread=0.6)
    family = dataclasses.replace(HEADS["linear-svm"], grid={"C": (0.1, 1000.0, 10_000.0)})
    with_rule = family.search(data).grid
    alone = [
        dataclasses.replace(family, grid={"C": (c,)}).search(data).grid[0] for c in (0.1, 1e3, 1e4)
    ]
    assert with_rule == alone


def test_folds_are_stratified_and_repeat_with_the_seed():
    labels = np.repeat([0, 1, 2], [50, 20, 10])
    fold = stratified_folds(labels, 5, seed=1)
    for number in range(5):
        assert np.bincount(labels[fold == number]).tolist() == [10, 4, 2]
    assert np.array_equal(fold, stratified_folds(labels, 5, seed=1))
    assert not np.array_equal(fold, stratified_folds(labels, 5, seed=2))


@pytest.mark.parametrize("count", [0, 1, 5, 12, 29])
def test_probabilities_come_in_parts_on_all_cores(separable, monkeypatch, count):
    head = HEADS["knn"].search(separable)
    features = separable.features[:count]
    whole = class_probabilities(head.estimator, features, 4)
    monkeypatch.setattr(search, "PREDICTED", 12)
    monkeypatch.setattr(search, "PART", 5)
    monkeypatch.setattr(search, "available_cores", lambda: 3)
    assert np.allclose(class_probabilities(head.estimator, features, 4), whole, atol=1e-6)


def test_class_probabilities_give_an_unseen_class_nothing():
    data = training_set(n=30, k=2)
    head = HEADS["knn"].search(TrainingSet(data.features, data.labels * 2, data.fold))
    probabilities = class_probabilities(head.estimator, data.features, 4)
    assert probabilities[:, [1, 3]].max() == 0
    assert probabilities.sum(axis=1) == pytest.approx(1)


def test_work_is_done_in_order_by_threads_of_this_process():
    def work(i):
        time.sleep(0.2)
        return i, os.getpid()

    started = time.perf_counter()
    assert run_parallel(work, range(4), workers=4) == [(i, os.getpid()) for i in range(4)]
    assert time.perf_counter() - started < 0.75


# ---- names ---------------------------------------------------------------------------------------


def test_heads_are_found_by_name_once_each():
    assert [family.name for family in by_name(["knn", "rbf-svm", "knn"])] == ["knn", "rbf-svm"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["linear-svn"], "there is no head named linear-svn; did you mean linear-svm?"),
        (["knn", "forest"], "there is no head named forest; choose among logistic-regression,"),
        (["a\nb"], r"there is no head named a\nb; choose among"),
        ([], "no head was named; choose among"),
    ],
)
def test_unknown_names_are_refused_in_one_line(names, message):
    with pytest.raises(InputError) as caught:
        by_name(names)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


# ---- baselines -----------------------------------------------------------------------------------


def test_most_frequent_class_answers_with_the_shares():
    labels = np.repeat([0, 1, 2], [10, 30, 20])
    data = TrainingSet(np.ones((60, 3), np.float32), labels, stratified_folds(labels, 5, 0))
    head = MostFrequentClass().search(data)
    assert head.cv_accuracy == 0.5
    assert head.estimator.predict_proba(data.features[:1])[0] == pytest.approx([1 / 6, 0.5, 1 / 3])


def test_raw_pixels_learn_what_pixels_show_and_leave_what_they_do_not():
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    pixels = rng.random((80, 3072), dtype=np.float32)
    fold = stratified_folds(labels, 5, 0)
    blind = RawPixels().search(TrainingSet(pixels, labels, fold))
    assert blind.cv_accuracy < 0.7
    brighter = np.clip(pixels + 0.1 * labels[:, None], 0, 1).astype(np.float32)
    head = RawPixels().search(TrainingSet(brighter, labels, fold))
    assert head.cv_accuracy > 0.95
    assert head.estimator.predict(brighter).shape == (80,)


def test_pixels_are_averaged_over_squares():
    rng = np.random.default_rng(0)
    pixels = rng.random((3, 32, 32, 3), dtype=np.float32)
    means = averaged(pixels.reshape(3, -1)).reshape(3, 8, 8, 3)
    assert means[1, 2, 5] == pytest.approx(pixels[1, 8:12, 20:24].mean(axis=(0, 1)), abs=1e-6)
    odd = averaged(np.ones((2, 6 * 6 * 3), np.float32))
    assert odd.shape == (2, 12)
    assert odd == pytest.approx(1)


@pytest.mark.parametrize("pixels", [np.zeros((20, 3072)), np.ones((20, 3072))])
def test_raw_pixels_of_blank_images_give_a_baseline(pixels):
    labels = np.arange(20) % 2
    data = TrainingSet(pixels.astype(np.float32), labels, stratified_folds(labels, 2, 0))
    assert RawPixels().search(data).cv_accuracy == 0.5
