"""The machines of a search: those of ``SVC``, with scikit-learn's private wrapper and without."""

from __future__ import annotations

import numpy as np
import pytest
from headstart.heads import libsvm
from sklearn.svm import SVC


def problem(k):
    """Return the kernel values of 40 overlapping rows, and labels with gaps between the codes."""
    rng = np.random.default_rng(k)
    labels = 3 * (np.arange(40) ** 2 % k) + 1
    rows = rng.normal(size=(3 * k + 1, 5))[labels] + rng.normal(size=(40, 5))
    return np.exp(-0.1 * ((rows[:, None] - rows) ** 2).sum(axis=2)), labels


@pytest.fixture(autouse=True)
def tried_anew():
    libsvm._agree.cache_clear()
    yield
    libsvm._agree.cache_clear()


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("cost", [0.1, 100.0])
def test_every_value_is_that_of_svc(k, class_weight, cost):
    kernel, labels = problem(k)
    svc = SVC(kernel="precomputed", C=cost, class_weight=class_weight).fit(kernel, labels)
    fitted = libsvm.fit(kernel, labels, cost, class_weight)
    for name in libsvm.Machine._fields:
        assert np.array_equal(getattr(fitted, name), getattr(svc, name)), name


def refusing(*arguments):
    raise TypeError("another signature")


def mirrored(*arguments):
    machine = libsvm._checked(*arguments)
    return machine._replace(dual_coef_=-machine.dual_coef_, intercept_=-machine.intercept_)


@pytest.mark.parametrize("wrapper", [refusing, mirrored])
def test_a_wrapper_that_differs_is_not_used(wrapper, monkeypatch):
    """What is private today may change tomorrow: then searches are slower, not wrong."""
    kernel, labels = problem(5)
    monkeypatch.setattr(libsvm, "_unchecked", wrapper)
    svc = SVC(kernel="precomputed").fit(kernel, labels)
    assert np.array_equal(libsvm.fit(kernel, labels, 1.0, None).dual_coef_, svc.dual_coef_)


def test_a_search_does_without_the_checks():
    """With the version in `constraints.txt`; with another one they may be slower."""
    assert libsvm._agree()
