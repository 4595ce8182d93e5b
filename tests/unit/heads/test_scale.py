"""What happens beyond the limits of exact SVMs: many rows, thousands of classes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from headstart.heads import HEADS, kernel_ridge, ridge, sampling, svm, votes
from headstart.heads.calibrated import CalibratedClassifier
from headstart.heads.calibration import SHARES
from headstart.heads.folds import divisions, stratified_folds
from headstart.heads.knn import GaussianWeights
from headstart.heads.ridge import LeastSquares
from headstart.heads.training_set import TrainingSet
from headstart.models import bundle
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC


def training_set(n=600, d=24, k=5, spread=1.5, folds=5, **more):
    rng = np.random.default_rng(1)
    labels = np.arange(n) % k
    features = rng.normal(size=(k, d))[labels] + spread * rng.normal(size=(n, d))
    fold = stratified_folds(labels, folds, seed=0)
    return TrainingSet(features.astype(np.float32), labels, fold, workers=2, **more)


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(svm, "MAX_ROWS", 100)
    monkeypatch.setattr(ridge, "LANDMARKS", 150)
    monkeypatch.setattr(ridge, "BLOCK", 128)


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("name", ["linear-svm", "rbf-svm"])
def test_beyond_the_limit_a_stock_pipeline_stands_in_and_says_so(name, k, monkeypatch):
    data = training_set(k=k)
    exact = HEADS[name].search(data)
    assert exact.approximation == ""
    monkeypatch.setattr(svm, "MAX_ROWS", 599)
    monkeypatch.setattr(ridge, "LANDMARKS", 150)
    head = HEADS[name].search(data)
    assert "least squares" in head.approximation
    assert head.cv_accuracy >= exact.cv_accuracy - 0.03
    kinds = [type(step) for _, step in head.estimator.steps]
    middle = [Nystroem] if name == "rbf-svm" else []
    assert kinds == [Normalizer, *middle, CalibratedClassifier]
    assert ("150 landmarks" in head.approximation) == (name == "rbf-svm")
    model = head.estimator[-1].estimator
    assert type(model) is RidgeClassifier
    assert model.alpha == head.params["alpha"]
    assert type(exact.estimator[-1].estimator) is SVC
    right = head.out_of_fold.argmax(axis=1) == data.labels
    assert right.mean() == pytest.approx(head.cv_accuracy, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("repeats", [1, 2])
def test_kernel_ridge_samples_many_rows_and_answers_all(repeats, monkeypatch):
    monkeypatch.setattr(kernel_ridge, "MAX_ROWS", 100)
    data = training_set(k=6)  # 16.7 rows of each class: rounding samples 102
    data = dataclasses.replace(data, fold=divisions(data.labels, 5, 0, repeats))
    family = HEADS["kernel-ridge"]
    head = family.search(data)
    used = sampling.sample(data, 100)
    assert (head.n_rows, head.approximation) == (len(used), f"fitted on {len(used)} of the rows")
    assert head.out_of_fold.sum(axis=1) == pytest.approx(1)
    right = head.out_of_fold.argmax(axis=1) == data.labels
    rest = np.setdiff1d(np.arange(600), used)
    assert right[used].mean() == pytest.approx(head.cv_accuracy, abs=0.03)
    new = head.estimator.predict(data.features[rest]) == data.labels[rest]  # by 102 rows, not 82
    assert right[rest].mean() == pytest.approx(new.mean(), abs=0.05)
    # Beyond the limit of the Gram matrix the kernel is computed from the rows themselves.
    answers = family.answers(head.params, data)
    monkeypatch.setattr(kernel_ridge, "MAX_GRAM_ROWS", 100)
    for block, exact in zip(family.answers(head.params, data), answers, strict=True):
        assert block == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("weight", [None, "balanced"])
@pytest.mark.parametrize("k", [2, 4])
def test_least_squares_by_blocks_are_scikit_learns_ridge(k, weight, small_limits):
    data = training_set(n=500, k=k, class_weight=weight)
    rare = data.labels != 1
    rare[::3] = True
    data = TrainingSet(
        data.features[rare], data.labels[rare], data.fold[rare], class_weight=weight, workers=2
    )
    machine = LeastSquares(data.rows, data)
    best = next(machine.search([0.5], {}))
    model, _ = machine.fit(best)
    found = model.estimator
    plain = RidgeClassifier(alpha=0.5, class_weight=weight)
    plain.fit(data.rows.astype(np.float64), data.labels)
    assert found.coef_ == pytest.approx(plain.coef_, abs=1e-4)
    assert found.intercept_ == pytest.approx(plain.intercept_, abs=1e-4)
    if weight is None:
        scores = [
            RidgeClassifier(alpha=0.5)
            .fit(data.rows[fit], data.labels[fit])
            .score(data.rows[held_out], data.labels[held_out])
            for fit, held_out in data.folds
        ]
        assert best.scores == pytest.approx(scores, abs=0.011)


@pytest.mark.parametrize("neighbours", [1, 5])
def test_votes_of_many_rows_are_scikit_learns(neighbours, monkeypatch):
    data = training_set(n=400, d=12, k=4, spread=2.0)
    classifier = KNeighborsClassifier(
        neighbours, weights=GaussianWeights(8.0), metric="euclidean", algorithm="brute"
    ).fit(data.rows, data.labels * 2)
    rows = data.rows + np.random.default_rng(1).normal(0, 0.05, data.rows.shape).astype(np.float32)
    assert not votes.has_many(classifier)
    monkeypatch.setattr(votes, "MAX_GRAM_ROWS", 399)
    monkeypatch.setattr(votes, "BLOCK", 150)
    assert votes.has_many(classifier)
    calibrated = CalibratedClassifier(classifier, SHARES, smoothing=0.01)
    found = calibrated.predict_proba(rows)
    assert np.allclose(votes.votes(classifier, rows), classifier.predict_proba(rows), atol=1e-6)
    monkeypatch.setattr(votes, "MAX_GRAM_ROWS", 400)
    assert np.allclose(found, calibrated.predict_proba(rows), atol=1e-6)
    assert votes.votes(classifier, rows[:0]).shape == (0, 4)


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("name", ["linear-svm", "rbf-svm"])
def test_what_stands_in_becomes_one_onnx_file(name, k, small_limits, tmp_path, tiny_backbone):
    data = training_set(d=12, k=k)
    head = HEADS[name].search(data)
    classes = tuple(map(str, range(k)))
    out = tmp_path / "model.onnx"
    agreement = bundle.bundle(
        tiny_backbone,
        bundle.TrainedHead(head.estimator, classes, {}, family=name),
        data.features,
        out,
    )
    assert agreement.labels >= bundle.MIN_AGREEMENT
    assert agreement.max_difference <= 1e-5


@pytest.mark.cases(4)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear-svm", "rbf-svm"])
@pytest.mark.parametrize(
    "change",
    [lambda rows: rows[:, :1], np.ones_like, np.zeros_like, lambda rows: rows * 1e-20],
    ids=["d = 1", "identical rows", "all zero", "tiny values"],
)
def test_degenerate_features_give_a_head(name, change, small_limits):
    data = training_set(n=120, k=2, d=6)
    rows = np.ascontiguousarray(change(data.features), dtype=np.float32)
    head = HEADS[name].search(TrainingSet(rows, data.labels, data.fold))
    assert head.estimator.predict_proba(rows).sum(axis=1) == pytest.approx(1)
    assert head.cv_accuracy >= 0.4


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_more_classes_than_exact_svms_take_with_two_images_each(name, level, monkeypatch):
    """A few more than their limit; thousands at the level ``all``."""
    k = 1200 if level == "all" else 300
    monkeypatch.setattr(ridge, "LANDMARKS", k // 4)
    data = training_set(n=2 * k, k=k, d=40, spread=0.1, folds=2)
    family = HEADS[name]
    if name == "logistic-regression":
        family = dataclasses.replace(family, grid={"C": (100.0, 1000.0)})
    head = family.search(data)
    assert head.out_of_fold.shape == (2 * k, k)
    assert head.cv_accuracy > 0.9
    assert bool(head.approximation) == ("svm" in name)
    probabilities = head.estimator.predict_proba(data.features[:50])
    assert (probabilities.argmax(axis=1) == data.labels[:50]).mean() > 0.9


@pytest.mark.slow
def test_the_same_answer_with_any_number_of_workers(small_limits):
    data = training_set()
    for name in ("linear-svm", "rbf-svm"):
        heads = [
            HEADS[name].search(TrainingSet(data.features, data.labels, data.fold, workers=workers))
            for workers in (1, 3)
        ]
        assert heads[0].grid == heads[1].grid
        assert np.array_equal(heads[0].out_of_fold, heads[1].out_of_fold)
