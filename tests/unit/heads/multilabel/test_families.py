"""Heads of several labels against scikit-learn, label by label: `headstart.heads.multilabel`."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnxruntime
import pytest
from headstart.core.rows import StoredRows
from headstart.heads import multilabel
from headstart.heads.knn import GaussianWeights
from headstart.heads.multilabel import feature_map, mean
from headstart.heads.multilabel.baselines import Prevalence
from headstart.heads.multilabel.label_set import LabelSet
from headstart.heads.multilabel.scoring import average_precisions
from sklearn.base import BaseEstimator
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, normalize
from sklearn.svm import SVC

N, DIM, K = 240, 24, 4
PARAMS = {
    "logistic-regression": {"C": 10.0},
    "linear-svm": {"C": 3.0},
    "rbf-svm": {"C": 2.0, "gamma": 0.7},
    "kernel-ridge": {"alpha": 0.1, "gamma": 0.7},
    "knn": {"n_neighbors": 7, "gamma": 5.0},
}


def images(seed: int = 0, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Return features and labels that they tell something about, from frequent to rare."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, DIM)).astype(np.float32)
    scores = rows[:, :K] + 0.7 * rng.normal(size=(n, K))
    return rows, (scores > [-0.6, 0.0, 0.7, 1.6]).astype(np.int8)


def label_set(unknown: float = 0.0, **changes: object) -> LabelSet:
    rows, labels = images()
    labels[np.random.default_rng(1).random(labels.shape) < unknown] = -1
    return dataclasses.replace(LabelSet(rows, labels, np.arange(N) % 5), **changes)


def stock(name: str, params: dict) -> tuple[BaseEstimator, str]:
    """Return scikit-learn's own model of one label, and the method with its values."""
    return {
        "logistic-regression": (LogisticRegression(tol=1e-8, max_iter=5000), "decision_function"),
        "linear-svm": (SVC(kernel="linear"), "decision_function"),
        "rbf-svm": (SVC(), "decision_function"),
        "kernel-ridge": (KernelRidge(kernel="rbf"), "predict"),
        "knn": (KNeighborsRegressor(weights=GaussianWeights(params.get("gamma", 0))), "predict"),
    }[name]


def values_of(name: str, params: dict, data: LabelSet) -> list[np.ndarray]:
    """Return scikit-learn's values of the rows held out, fitted label by label."""
    rows = normalize(data.features.astype(np.float64))
    model, method = stock(name, params)
    model.set_params(**{key: each for key, each in params.items() if key in model.get_params()})
    parts = []
    for fit, held_out in data.folds:
        part = np.empty((len(held_out), data.n_labels))
        for label in range(data.n_labels):
            known = fit[data.labels[fit, label] >= 0]
            model.fit(rows[known], data.labels[known, label])
            part[:, label] = getattr(model, method)(rows[held_out])
        parts.append(part)
    return parts


@pytest.mark.cases(6)
@pytest.mark.slow
@pytest.mark.parametrize("unknown", [0.0, 0.2])
@pytest.mark.parametrize("name", multilabel.NAMES)
def test_values_are_those_of_scikit_learn_label_by_label(name: str, unknown: float) -> None:
    data = label_set(unknown)
    [family] = multilabel.by_name([name])
    ours = np.concatenate(family.answers(PARAMS[name], data))
    theirs = np.concatenate(values_of(name, PARAMS[name], data))
    middle = 0.5 if name in ("knn", "kernel-ridge") else 0.0
    assert np.mean((ours > middle) == (theirs > middle)) >= 0.999
    np.testing.assert_allclose(ours, theirs, atol=5e-2 if name == "logistic-regression" else 5e-3)


@pytest.mark.slow
def test_predictions_are_those_of_one_versus_rest_on_the_same_folds() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(600, DIM)).astype(np.float32)
    scores = rows @ rng.normal(size=(DIM, 12)) / 4 + 0.5 * rng.normal(size=(600, 12))
    data = LabelSet(rows, (scores > rng.normal(0, 1, 12)).astype(np.int8), np.arange(600) % 5)
    [family] = multilabel.by_name(["logistic-regression"])
    ours = np.concatenate(family.answers({"C": 10.0}, data)) > 0
    stock_model = OneVsRestClassifier(LogisticRegression(C=10.0, tol=1e-6, max_iter=1000))
    theirs = cross_val_predict(
        make_pipeline(Normalizer(), stock_model),
        rows,
        data.labels.astype(int),
        cv=PredefinedSplit(data.fold),
    )
    assert np.mean(ours == theirs[data.held_out]) >= 0.999


@pytest.mark.cases(7)
@pytest.mark.slow
@pytest.mark.parametrize("per_label", [False, True])
@pytest.mark.parametrize("unknown", [0.0, 0.2])
@pytest.mark.parametrize("name", multilabel.NAMES)
def test_a_search_returns_probabilities_that_tell_new_images_apart(
    name: str, unknown: float, per_label: bool
) -> None:
    data = label_set(unknown)
    head = multilabel.by_name([name])[0].search(data, per_label)
    rows, labels = images(seed=9)
    probabilities = head.estimator.predict_proba(rows)
    assert probabilities.shape == (N, K)
    chance = average_precisions(labels, np.zeros(labels.shape))
    assert (average_precisions(labels, probabilities) > chance).all()
    assert average_precisions(labels, probabilities).mean() > chance.mean() + 0.15
    np.testing.assert_allclose(probabilities.mean(axis=0), labels.mean(axis=0), atol=0.08)
    assert head.out_of_fold.shape == (N, K)
    of_folds = [
        average_precisions(data.labels[rows], head.out_of_fold[rows]) for _, rows in data.folds
    ]
    np.testing.assert_allclose(np.nanmean(of_folds, axis=1).mean(), head.cv_score, atol=1e-3)
    for value in head.params.values():
        assert np.shape(value) == ((K,) if per_label else ())
    graph = multilabel.to_onnx(head.estimator, DIM).SerializeToString()
    [scores] = onnxruntime.InferenceSession(graph).run(None, {"X": rows})
    np.testing.assert_allclose(scores, probabilities, atol=1e-5)


@pytest.mark.slow
def test_a_label_chooses_for_itself_as_if_it_were_alone() -> None:
    data = label_set(0.2)
    [family] = multilabel.by_name(["logistic-regression"])
    together = family.search(data, per_label=True)
    alone = [family.search(data.only(np.array([label]))) for label in range(K)]
    assert together.params["C"] == [head.params["C"] for head in alone]
    assert len(set(together.params["C"])) > 1
    for label, head in enumerate(alone):
        own = together.out_of_fold[:, label]
        np.testing.assert_allclose(own, head.out_of_fold[:, 0], atol=2e-3)
    assert all(np.isfinite(trial["cv_loss"]) for trial in together.grid)


@pytest.mark.slow
@pytest.mark.parametrize("most_rows", [None, 150])
def test_the_mean_of_heads_is_a_head(most_rows: int | None) -> None:
    data = label_set(0.1, fold=np.stack([np.arange(N) % 5, np.arange(N) // 3 % 5]))
    fitted = []
    for family in multilabel.by_name(multilabel.NAMES):
        rows = most_rows if family.name == "rbf-svm" else family.most_rows
        fitted.append(dataclasses.replace(family, most_rows=rows).search(data))
    head = mean.combine(fitted, data)
    assert head.params == {"heads": ", ".join(multilabel.NAMES)}
    assert ("rbf-svm" in head.approximation) == (most_rows is not None)
    assert np.isfinite(head.out_of_fold).all() == (most_rows is None)
    assert head.cv_score > np.mean([each.cv_score for each in fitted])
    rows, labels = images(seed=9)
    probabilities = head.estimator.predict_proba(rows)
    ours = average_precisions(labels, probabilities).mean()
    theirs = [average_precisions(labels, h.estimator.predict_proba(rows)).mean() for h in fitted]
    assert ours > np.mean(theirs)
    np.testing.assert_allclose(probabilities.mean(axis=0), labels.mean(axis=0), atol=0.08)
    graph = multilabel.to_onnx(head.estimator, DIM).SerializeToString()
    [scores] = onnxruntime.InferenceSession(graph).run(None, {"X": rows})
    np.testing.assert_allclose(scores, probabilities, atol=1e-5)


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize("name", multilabel.NAMES)
def test_a_label_by_itself_gives_what_it_gives_among_others(name: str) -> None:
    data = label_set()
    [family] = multilabel.by_name([name])
    alone = np.concatenate(family.answers(PARAMS[name], data.only(np.array([2]))))
    among = np.concatenate(family.answers(PARAMS[name], data))
    np.testing.assert_allclose(alone[:, 0], among[:, 2], atol=5e-3)
    head = family.search(data.only(np.array([2])))
    assert head.estimator.predict_proba(data.features).shape == (N, 1)
    assert head.estimator.predict(data.features).shape == (N, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*multilabel.NAMES, "prevalence"])
def test_labels_that_are_constant_or_unknown_get_their_prevalence(name: str) -> None:
    rows, labels = images()
    labels[:, 0], labels[:, 1], labels[:, 2] = 1, 0, -1
    labels[:, 3] = np.arange(N) % 5 == 1  # no image outside this fold has it
    data = LabelSet(rows, labels, np.arange(N) % 5)
    family = Prevalence() if name == "prevalence" else multilabel.by_name([name])[0]
    head = family.search(data)
    assert np.isfinite(head.out_of_fold).all()
    for probabilities in (head.out_of_fold, head.estimator.predict_proba(rows)):
        np.testing.assert_allclose(probabilities[:, :2].mean(axis=0), [1, 0], atol=0.01)
        np.testing.assert_allclose(probabilities[:, 2], 0.5)


@pytest.mark.cases(3)
@pytest.mark.slow
@pytest.mark.parametrize("name", multilabel.NAMES)
def test_repeats_and_balanced_weights_are_accepted(name: str) -> None:
    fold = np.stack([np.arange(N) % 3, np.arange(N) // 4 % 3])
    data = label_set(fold=fold, class_weight="balanced", square_root=True)
    head = multilabel.by_name([name])[0].search(data)
    assert np.isfinite(head.out_of_fold).all()
    prevalence = (data.labels == 1).mean(axis=0)
    np.testing.assert_allclose(head.out_of_fold.mean(axis=0), prevalence, atol=0.05)


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize("name", multilabel.NAMES)
def test_a_sample_is_fitted_where_there_are_many_rows(name: str) -> None:
    [family] = multilabel.by_name([name])
    head = dataclasses.replace(family, most_rows=150).search(label_set())
    assert 120 <= head.n_rows <= 180
    assert "of the rows" in head.approximation
    assert np.isnan(head.out_of_fold).any(axis=1).sum() == N - head.n_rows


class _OnDisk(StoredRows):
    def __init__(self, rows: np.ndarray) -> None:
        self._rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def __getitem__(self, rows: object) -> np.ndarray:
        return self._rows[rows].copy()


@pytest.mark.cases(3)
@pytest.mark.slow
@pytest.mark.parametrize("name", multilabel.NAMES)
def test_rows_on_disk_give_what_rows_in_memory_give(name: str) -> None:
    data = label_set()
    [family] = multilabel.by_name([name])
    here, there = (
        family.search(dataclasses.replace(data, features=rows))
        for rows in (data.features, _OnDisk(data.features))
    )
    assert here.params == there.params
    np.testing.assert_allclose(here.out_of_fold, there.out_of_fold, atol=2e-3)


def test_square_roots_are_chosen_where_they_tell_more() -> None:
    rng = np.random.default_rng(0)
    roots = rng.random((N, DIM)).astype(np.float32)
    labels = (roots[:, :2] + 0.05 * rng.normal(size=(N, 2)) > 0.5).astype(np.int8)
    fold = np.arange(N) % 5
    assert feature_map.choose(LabelSet(roots**6, labels, fold)).square_root
    assert not feature_map.choose(LabelSet(roots, labels, fold)).square_root
