"""What the searches are made of: the solver of all folds, calibration, neighbours, and the rest."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from headstart.core.errors import InputError
from headstart.heads import HEADS, calibration, ovo, stock_svc
from headstart.heads.folds import stratified_folds
from headstart.heads.knn import GaussianWeights
from headstart.heads.principal_axes import RowSpace
from headstart.heads.softmax import Problem
from headstart.heads.training_set import TrainingSet
from headstart.heads.votes import GROUP, smallest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC


def training_set(n=300, d=20, k=4, spread=1.5, draw=0, **more):
    rng = np.random.default_rng(3)
    centres, labels = rng.normal(size=(k, d)), np.arange(n) % k
    rng = np.random.default_rng(draw) if draw else rng
    features = centres[labels] + spread * rng.normal(size=(n, d))
    fold = stratified_folds(labels, 3, seed=0)
    return TrainingSet(features.astype(np.float32), labels, fold, workers=2, **more)


@pytest.fixture(scope="module")
def data():
    return training_set()


# ---- rows and their main axes --------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(50, 12), (12, 50), (30, 30), (400, 200), (4, 1)])
def test_scores_in_a_space_are_those_of_the_rows(n, d):
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(n, d)) + 3).astype(np.float32)
    space = RowSpace.of(rows)
    assert space.points.shape[1] == (d if 2 * n >= d else n - 1)
    coefficients = rng.normal(size=(space.points.shape[1] + 1, 3)).astype(np.float32)
    weights, intercepts = space.to_rows(coefficients)
    expected = (space.points - space.centre) @ coefficients[:-1] + coefficients[-1]
    assert rows @ weights + intercepts == pytest.approx(expected, abs=1e-3)
    assert space.from_rows(weights, intercepts) == pytest.approx(coefficients, abs=1e-3)


@pytest.mark.parametrize(("n", "d"), [(50, 12), (12, 50), (600, 300)])
def test_main_axes_carry_the_most_variance(n, d):
    rng = np.random.default_rng(1)
    rows = (
        rng.normal(size=(n, d))
        * np.geomspace(10, 0.01, d)
        @ np.linalg.qr(rng.normal(size=(d, d)))[0]
    )
    space = RowSpace.of(rows.astype(np.float32))
    centred = rows - rows.mean(axis=0)
    total = float((centred**2).sum()) / n
    count, width = space.axes.shape[1], space.points.shape[1]
    assert space.axes.T @ space.axes == pytest.approx(np.eye(count), abs=1e-4)
    assert space.variances.sum() + (width - count) * space.rest == pytest.approx(total, rel=1e-3)
    largest = np.linalg.svd(centred, compute_uv=False)[:count] ** 2 / n
    assert np.sort(space.variances)[::-1] == pytest.approx(largest, rel=0.01, abs=1e-4 * total)


# ---- logistic regression -------------------------------------------------------------------------


@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("weight", [None, "balanced"])
def test_every_fold_has_the_solution_of_scikit_learn(c, k, weight):
    data = training_set(k=k, class_weight=weight)
    data = dataclasses.replace(data, labels=np.where(data.labels == 1, 0, data.labels))
    data = dataclasses.replace(data, labels=np.where(np.arange(300) < 60, k - 1, data.labels))
    weights = np.stack([data.weights(fit) for fit, _ in data.folds], axis=1)
    found = Problem(data.row_space, data.labels, weights, k, 2).solve(c).probabilities
    for number, (fit, held_out) in enumerate(data.folds):
        plain = LogisticRegression(C=c, max_iter=10_000, tol=1e-8, class_weight=weight)
        plain.fit(data.rows[fit].astype(np.float64), data.labels[fit])
        expected = plain.predict_proba(data.rows[held_out])
        assert found[held_out, number][:, plain.classes_] == pytest.approx(expected, abs=0.02)
        assert np.delete(found[held_out, number], plain.classes_, axis=1).max(initial=0) == 0


def test_a_warm_start_saves_passes_and_changes_nothing(data):
    weights = np.stack([data.weights(fit) for fit, _ in data.folds], axis=1)
    problem = Problem(data.row_space, data.labels, weights, 4)
    cold, before = problem.solve(30.0), problem.solve(10.0)
    warm = problem.solve(30.0, before.coefficients)
    assert warm.passes < cold.passes
    assert warm.probabilities == pytest.approx(cold.probabilities, abs=0.02)
    again = problem.solve(30.0, cold.coefficients)
    assert again.passes == 1
    assert np.array_equal(again.coefficients, cold.coefficients)


# ---- folds, weights, out-of-fold probabilities ---------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_out_of_fold_probabilities_are_those_that_were_scored(name, data):
    head = HEADS[name].search(data)
    assert head.out_of_fold.shape == (300, 4)
    assert head.out_of_fold.sum(axis=1) == pytest.approx(1, abs=1e-5)
    right = head.out_of_fold.argmax(axis=1) == data.labels
    assert right.mean() == pytest.approx(head.cv_accuracy, abs=0.02)
    assert log_loss(data.labels, head.out_of_fold) < np.log(4)


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_repeated_folds_are_averaged(name, data):
    folds = np.stack([stratified_folds(data.labels, 3, seed) for seed in range(3)])
    head = HEADS[name].search(dataclasses.replace(data, fold=folds))
    assert head.out_of_fold.sum(axis=1) == pytest.approx(1, abs=1e-5)
    once = HEADS[name].search(dataclasses.replace(data, fold=folds[1]))
    assert not np.array_equal(once.out_of_fold, head.out_of_fold)
    assert head.cv_accuracy == pytest.approx(once.cv_accuracy, abs=0.06)


@pytest.mark.parametrize("name", HEADS)
def test_a_fixed_validation_split_is_the_only_one_held_out(name, data):
    fold = np.where(np.arange(300) < 60, 0, -1)
    head = HEADS[name].search(dataclasses.replace(data, fold=fold))
    assert np.isnan(head.out_of_fold[60:]).all()
    assert head.out_of_fold[:60].sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert head.cv_std == 0


@pytest.mark.parametrize("name", HEADS)
def test_a_class_that_a_fold_cannot_train_on_is_not_its_answer(name, data):
    """As groups may do, or fewer images than folds: fold 0 holds all of class 3."""
    fold = np.where(data.labels == 3, 0, data.fold)
    head = HEADS[name].search(dataclasses.replace(data, fold=fold))
    assert np.isfinite(head.out_of_fold).all()
    assert (head.out_of_fold[data.labels == 3].argmax(axis=1) != 3).all()
    assert head.cv_accuracy > 0.4
    assert (head.estimator.predict(data.features[data.labels == 3]) == 3).mean() > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic-regression", "linear-svm", "rbf-svm"])
def test_balanced_weights_help_a_rare_class(name):
    data = training_set(k=2, d=3, spread=2.0)  # no kernel separates these
    keep = (data.labels == 0) | (np.arange(300) % 12 == 1)
    parts = [data.features[keep], data.labels[keep], data.fold[keep]]
    rare = parts[1] == 1
    found = [
        HEADS[name].search(TrainingSet(*parts, class_weight=weight)).out_of_fold[rare, 1].mean()
        for weight in (None, "balanced")
    ]
    assert found[1] > found[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("name", HEADS)
def test_features_that_are_no_numbers_are_refused(name, bad, data):
    features = data.features.copy()
    features[7, 2:4] = bad
    with pytest.raises(InputError, match="1 of 300 training images have features that are NaN"):
        HEADS[name].search(dataclasses.replace(data, features=features))


# ---- calibration ---------------------------------------------------------------------------------


@pytest.mark.cases(3)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear-svm", "rbf-svm", "knn"])
@pytest.mark.parametrize("k", [2, 4])
def test_calibration_beats_votes_and_costs_no_accuracy(name, k):
    head = HEADS[name].search(training_set(k=k))
    calibrated, fresh = head.estimator[-1], training_set(n=900, k=k, spread=1.6, draw=4)
    probabilities = head.estimator.predict_proba(fresh.features)
    labels = probabilities.argmax(axis=1)
    assert np.array_equal(calibrated.predict(fresh.rows), labels)
    plain = calibrated.estimator.predict(fresh.rows)
    assert (labels == fresh.labels).mean() >= (plain == fresh.labels).mean() - 0.02
    assert probabilities.min() > 0
    confidence, right = probabilities.max(axis=1), labels == fresh.labels
    assert confidence.mean() == pytest.approx(right.mean(), abs=0.1)
    assert log_loss(fresh.labels, probabilities) < np.log(k)


def test_couplings_of_pairs_that_agree_are_exact():
    """Pairwise probabilities p_i / (p_i + p_j) lead back to p (Wu, Lin and Weng 2004)."""
    expected = np.array([[0.5, 0.3, 0.15, 0.05], [0.01, 0.01, 0.97, 0.01]])
    first, second = np.triu_indices(4, 1)
    values = np.log(expected[:, first] / expected[:, second]) / 3.0
    assert calibration.softmax(ovo.coupled(values, 4, 3.0)) == pytest.approx(expected, abs=1e-9)
    values[:, (first == 3) | (second == 3)] = np.nan  # a fold without the last class
    partial = expected[:, :3] / expected[:, :3].sum(axis=1, keepdims=True)
    chances = calibration.softmax(ovo.coupled(values, 4, 3.0))
    assert chances[:, 3].max() == 0
    assert chances[:, :3] == pytest.approx(partial, abs=1e-9)


def test_a_calibration_is_recovered_from_labels_that_it_drew():
    rng = np.random.default_rng(0)
    scores, bias = rng.normal(0, 2, (20_000, 3)), np.array([0.5, 0.0, -0.5])
    chances = calibration.softmax(0.7 * scores + bias)
    labels = (chances.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    fitted = calibration.fit(calibration.SCORES, scores, labels, 3, np.ones(20_000))
    assert fitted.slope == pytest.approx(0.7, abs=0.03)
    assert fitted.bias - fitted.bias.mean() == pytest.approx(bias, abs=0.06)


def test_biases_of_many_pairs_are_fitted_on_all_rows(monkeypatch):
    """A part of the rows gives one slope; a bias for each class needs them all."""
    rng, k = np.random.default_rng(0), 12
    labels = rng.integers(k, size=600)
    scores = rng.normal(size=(600, k)) + 2 * np.eye(k)[labels] - np.linspace(1, -1, k)
    first, second = np.triu_indices(k, 1)
    values = scores[:, first] - scores[:, second]
    whole = calibration.fit(calibration.PAIRS, values, labels, k, np.ones(600))
    monkeypatch.setattr(calibration, "MAX_CELLS", scores.size)
    part = calibration.fit(calibration.PAIRS, values, labels, k, np.ones(600))
    assert part.bias == pytest.approx(whole.bias, abs=0.1)
    assert whole.bias[0] - whole.bias[-1] > 1


@pytest.mark.parametrize("near_certain", [False, True])
def test_fitted_targets_below_0_count_as_0(near_certain):
    shares = np.array([[1.0, -0.2, 0.0], [0.6, 0.4, -0.1]]) * (1.5 if near_certain else 1.0)
    fitted = calibration.Calibration(calibration.SHARES, 2.0, np.zeros(3), 0.1)
    expected = (np.maximum(shares, 0) + 0.1) ** 2
    expected /= expected.sum(axis=1, keepdims=True)
    assert fitted.probabilities(shares) == pytest.approx(expected)


def test_no_image_is_calibrated_by_its_own_label(data):
    rng = np.random.default_rng(1)
    values = [rng.normal(size=(len(rows), 4)) + 2 * np.eye(4)[data.labels[rows]]
              for _, rows in data.folds]  # fmt: skip
    _, before = calibration.calibrate(calibration.SCORES, values, data)
    rows = data.folds[0][1]
    other = data.labels.copy()
    other[rows] = (other[rows] + 1) % 4
    changed = dataclasses.replace(data, labels=other)
    _, after = calibration.calibrate(calibration.SCORES, values, changed)
    own, others = (np.abs(x - y).max() for x, y in zip(before[:2], after[:2], strict=True))
    assert own < 0.01 < 0.05 < others


def test_scores_without_an_error_give_probabilities_short_of_certainty():
    data = training_set(n=60, k=3, spread=0.01)
    for name in ("linear-svm", "knn"):
        probabilities = HEADS[name].search(data).out_of_fold
        assert 0.9 < probabilities.max(axis=1).min()
        assert probabilities.max() < 1


# ---- machines between pairs of classes -----------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 7])
def test_decisions_in_matrix_products_are_libsvms(k, monkeypatch):
    monkeypatch.setattr(ovo, "CELLS", 1000)
    data = training_set(k=k, spread=3.0)
    rows = data.rows.astype(np.float64)
    labels = 3 * data.labels
    machine = SVC(kernel="precomputed", C=5.0).fit(rows[:200] @ rows[:200].T, labels[:200])
    kernel = rows[200:] @ rows[:200].T
    found = ovo.pairs(machine, kernel[:, machine.support_])
    machine.decision_function_shape = "ovo"
    expected = machine.decision_function(kernel).reshape(100, -1)
    assert found == pytest.approx(-expected if k == 2 else expected)
    assert np.array_equal(machine.classes_[ovo.winners(found, k)], machine.predict(kernel))


@pytest.mark.cases(3)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear-svm", "rbf-svm"])
@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("known", [True, False])
def test_the_final_machine_is_the_one_of_all_rows(name, k, known, monkeypatch):
    """Also where another version of scikit-learn keeps its solution under other names."""
    agrees, answers = stock_svc._agrees, []
    monkeypatch.setattr(
        stock_svc, "_agrees", lambda *rest: answers.append(agrees(*rest)) or (known and answers[-1])
    )
    data = training_set(k=k)
    head = HEADS[name].search(data)
    assert answers == [True]
    machine = head.estimator[-1].estimator
    plain = clone(machine).fit(data.rows, data.labels)
    assert len(machine.support_vectors_) < len(data.rows)
    fresh = training_set(spread=1.7, k=k).rows
    assert machine.decision_function(fresh) == pytest.approx(
        plain.decision_function(fresh), abs=0.02
    )


# ---- neighbours ----------------------------------------------------------------------------------


@pytest.mark.slow
@given(
    arrays(np.float32, (3, GROUP * 9 + 5), elements=st.integers(0, 40).map(float)),
    st.sampled_from([1, 2]),
)
def test_the_smallest_of_many_are_found(values, k):
    columns, found = smallest(values, k)
    assert np.array_equal(found, np.sort(values, axis=1)[:, :k])
    assert np.array_equal(np.take_along_axis(values, columns, axis=1), found)
    assert all(len(set(row)) == k for row in columns.tolist())


@pytest.mark.slow
def test_neighbours_in_many_rows_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 13_000)
    features = (rng.normal(size=(5, 6))[labels] + rng.normal(size=(13_000, 6))).astype(np.float32)
    fold = np.where(np.arange(13_000) < 300, 0, -1)
    data = TrainingSet(features, labels, fold, workers=2)
    for tried in HEADS["knn"].search(data).grid:
        count, gamma = tried["params"].values()
        plain = KNeighborsClassifier(count, weights=GaussianWeights(gamma))
        plain.fit(data.rows[300:], labels[300:])
        assert plain.score(data.rows[:300], labels[:300]) == pytest.approx(
            tried["cv_accuracy"], abs=0.004
        )
