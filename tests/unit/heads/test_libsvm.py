"""The machines of a search: those of ``SVC``, with scikit-learn's private wrapper and without."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.heads import libsvm
from sklearn.svm import SVC, _libsvm


def problem(k):
    """Return the kernel values of 40 overlapping rows, and labels with gaps between the codes."""
    rng = np.random.default_rng(k)
    labels = 3 * (np.arange(40) ** 2 % k) + 1
    rows = rng.normal(size=(3 * k + 1, 5))[labels] + rng.normal(size=(40, 5))
    return np.exp(-0.1 * ((rows[:, None] - rows) ** 2).sum(axis=2)), labels


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("cost", [0.1, 100.0])
def test_every_value_is_that_of_svc(k, class_weight, cost, monkeypatch):
    kernel, labels = problem(k)
    svc = SVC(kernel="precomputed", C=cost, class_weight=class_weight).fit(kernel, labels)
    fit = _libsvm.fit
    quick = libsvm.fit(kernel, labels, cost, class_weight)

    def another(*arguments, svm_type, **rest):  # which must be passed
        return fit(*arguments, svm_type=svm_type, **rest)

    monkeypatch.setattr(_libsvm, "fit", another)
    checked = libsvm.fit(kernel, labels, cost, class_weight)
    for name in libsvm.Machine._fields:
        expected = getattr(svc, name)
        assert np.array_equal(getattr(quick, name), expected), name
        assert np.array_equal(getattr(checked, name), expected), name


def test_a_search_does_without_the_checks(monkeypatch):
    """What is private today may move tomorrow: then searches are slower, and this test says so."""
    kernel, labels = problem(5)
    monkeypatch.setattr(libsvm, "_checked", None)
    assert len(libsvm.fit(kernel, labels, 1.0, None).support_)
