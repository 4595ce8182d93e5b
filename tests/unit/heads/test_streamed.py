"""Heads on features that stay on disk: the same answers as in memory, and what is left out told."""

from __future__ import annotations

import dataclasses
import threading

import h5py
import numpy as np
import pytest
from headstart.core.rows import StoredRows, take
from headstart.features.store.lazy_columns import RowsOnDisk
from headstart.heads import HEADS, knn, ridge, sampling, softmax, svm
from headstart.heads.folds import stratified_folds
from headstart.heads.principal_axes import RowSpace
from headstart.heads.search import class_probabilities
from headstart.heads.training_set import TrainingSet

N, D, K = 900, 24, 4


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """The same images twice, in memory and in two files, with blocks that end inside both."""
    for part, name in ((softmax, "STREAMED"), (ridge, "BLOCK")):
        monkeypatch.setattr(part, name, 128)
    rng = np.random.default_rng(1)
    labels = rng.integers(K, size=N)
    features = rng.normal(size=(K, D))[labels] + 1.5 * rng.normal(size=(N, D)) + 1
    features = features.astype(np.float16)
    files = []
    for number, rows in enumerate((slice(0, 500), slice(500, N))):
        files.append(tmp_path / f"{number}.h5")
        with h5py.File(files[-1], "w") as file:
            file["features"] = features[rows]
    held = features.astype(np.float32)
    stored = RowsOnDisk(files, [500, N - 500], "features", (D,), np.float32)
    used = np.flatnonzero(np.arange(N) % 7 > 0)  # as a training split, with holes
    fold = stratified_folds(labels[used], 5, 0)
    in_memory = TrainingSet(held[used], labels[used], fold, workers=2)
    return in_memory, dataclasses.replace(in_memory, features=take(stored, used))


def test_rows_on_disk_are_indexed_like_an_array(pair):
    in_memory, on_disk = pair
    held, stored = in_memory.features, on_disk.features
    assert isinstance(stored, StoredRows)
    assert (stored.shape, stored.dtype, stored.nbytes) == (held.shape, held.dtype, held.nbytes)
    mixed = np.array([700, 3, 3, 500, 499, 0])
    for rows in (slice(400, 600), slice(None), slice(5, 5), mixed, mixed[:0], 499):
        assert np.array_equal(stored[rows], held[rows])
    assert np.array_equal(take(stored, mixed)[::2], held[mixed][::2])
    with pytest.raises(TypeError, match="one array"):
        np.asarray(stored)


@pytest.mark.slow
def test_threads_read_rows_together(pair):
    in_memory, on_disk = pair
    wrong = []

    def read(seed):
        for rows in np.random.default_rng(seed).integers(0, len(in_memory.labels), (50, 40)):
            if not np.array_equal(on_disk.features[rows], in_memory.features[rows]):
                wrong.append(rows)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_space_of_rows_on_disk_is_that_of_rows_in_memory(pair):
    held, stored = (RowSpace.of(data.rows) for data in pair)
    assert np.allclose(held.origin, stored.origin, atol=1e-6)
    assert np.allclose(held.variances, stored.variances, rtol=1e-3, atol=1e-7)
    assert isinstance(stored.points, StoredRows)
    coefficients = np.random.default_rng(0).normal(size=(D + 1, 3)).astype(np.float32)
    assert np.allclose(stored.to_rows(coefficients)[1], held.to_rows(coefficients)[1], atol=1e-5)


@pytest.mark.cases(2)
@pytest.mark.slow
@pytest.mark.parametrize("weight", [None, "balanced"])
@pytest.mark.parametrize("sampled", [False, True])
def test_logistic_regression_ends_where_it_does_in_memory(pair, weight, sampled, monkeypatch):
    if sampled:
        monkeypatch.setattr(sampling, "ROWS", 300)
    held, stored = (
        HEADS["logistic-regression"].search(dataclasses.replace(data, class_weight=weight))
        for data in pair
    )
    assert stored.params == held.params
    assert stored.cv_accuracy == pytest.approx(held.cv_accuracy, abs=0.005)
    assert np.allclose(stored.out_of_fold, held.out_of_fold, atol=0.01)
    answers = [class_probabilities(h.estimator, pair[1].features, K) for h in (held, stored)]
    assert np.abs(answers[0] - answers[1]).max() < 0.01
    assert type(stored.estimator[-1]) is type(held.estimator[-1])
    assert ("chosen on" in stored.approximation) == sampled


@pytest.mark.slow
def test_a_linear_machine_is_the_least_squares_one(pair, monkeypatch):
    stored = HEADS["linear-svm"].search(pair[1])
    monkeypatch.setattr(svm, "MAX_ROWS", 10)
    held = HEADS["linear-svm"].search(pair[0])
    assert stored.params == held.params
    assert stored.cv_accuracy == pytest.approx(held.cv_accuracy, abs=1e-9)
    assert np.allclose(stored.out_of_fold, held.out_of_fold, atol=1e-3)
    assert stored.approximation == "least squares, one against rest"


@pytest.mark.slow
def test_a_gaussian_kernel_takes_what_memory_holds_and_says_so(pair, monkeypatch):
    held, whole = (HEADS["rbf-svm"].search(data) for data in pair)
    assert (whole.params, whole.cv_accuracy) == (held.params, held.cv_accuracy)
    assert whole.approximation == ""
    monkeypatch.setattr(svm, "SAMPLED", 300)
    part = HEADS["rbf-svm"].search(pair[1])
    seen = np.isfinite(part.out_of_fold).all(axis=1)
    assert part.approximation == f"fitted on {seen.sum()} of the rows"
    assert 280 <= seen.sum() <= 320
    right = part.out_of_fold[seen].argmax(axis=1) == pair[1].labels[seen]
    assert right.mean() == pytest.approx(part.cv_accuracy, abs=0.02)


@pytest.mark.slow
def test_neighbours_come_from_a_stratified_sample_of_the_rows_and_say_so(pair, monkeypatch):
    in_memory, whole = (HEADS["knn"].search(data) for data in pair)
    assert (whole.params, whole.grid, whole.approximation) == (in_memory.params, in_memory.grid, "")
    rows = pair[0].features[:50]
    answers = [head.estimator.predict_proba(rows) for head in (in_memory, whole)]
    assert np.array_equal(*answers)
    monkeypatch.setattr(knn, "REFERENCES", 200)
    part = HEADS["knn"].search(pair[1])
    seen = np.isfinite(part.out_of_fold).all(axis=1)
    assert 190 <= seen.sum() <= 210
    assert part.approximation == f"fitted on {seen.sum()} of the rows"
    voters = part.estimator[-1].estimator
    assert voters.n_samples_fit_ == seen.sum()
    shares = [np.bincount(pair[1].labels[rows], minlength=K) for rows in (seen, slice(None))]
    assert np.abs(shares[0] / shares[0].sum() - shares[1] / shares[1].sum()).max() < 0.02
