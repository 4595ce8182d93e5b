"""Machines along a path of C: each is the one that is solved by itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from factories import training_set
from headstart.core.parallel.blas import one_thread_each
from headstart.heads import libsvm
from headstart.heads.kernels import kernel_of
from headstart.heads.svm_path import path
from sklearn.svm import SVC

COSTS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 32.0, 128.0, 512.0)


@pytest.mark.parametrize("gamma", [None, 1.0])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("classes", [2, 4])
def test_values_along_the_path_are_those_of_svc(gamma, class_weight, classes, monkeypatch):
    data = training_set(n=203, d=8, k=classes, spread=0.6, folds=3)
    data = dataclasses.replace(data, class_weight=class_weight)
    fit, held_out = data.folds[1]
    fits = []
    monkeypatch.setattr(libsvm, "fit", counted(libsvm.fit, fits))
    with one_thread_each():
        steps = path(data, gamma, (fit, held_out), COSTS)
        kernel, outside = (kernel_of(data, rows, fit, gamma) for rows in (fit, held_out))
    for c, step in zip(COSTS, steps, strict=True):
        svc = SVC(
            C=c, kernel="precomputed", class_weight=class_weight, decision_function_shape="ovo"
        ).fit(kernel, data.labels[fit])
        values = svc.decision_function(outside)
        if classes == 2:
            values = -values[:, None]
        assert np.allclose(step.values, values, atol=5e-3)
        right = svc.predict(outside) == data.labels[held_out]
        assert step.accuracy == pytest.approx(np.mean(right), abs=1.5 / len(held_out))
    if classes > 2:
        assert 2 in fits  # pairs were solved alone, or this shows nothing


def counted(fit, classes):
    """Return ``fit``, which also notes the number of classes."""

    def noting(kernel, labels, *rest):
        classes.append(len(np.unique(labels)))
        return fit(kernel, labels, *rest)

    return noting


def test_a_class_that_the_fold_lacks_has_no_values():
    data = training_set(n=60, k=3)
    held_out = np.flatnonzero((data.labels == 2) | (np.arange(60) < 9))
    fit = np.setdiff1d(np.arange(60), held_out)
    (step,) = path(data, None, (fit, held_out), [1.0])
    assert np.isnan(step.values).all(axis=0).tolist() == [False, True, True]
