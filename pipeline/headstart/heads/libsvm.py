"""libsvm on a precomputed kernel, without the checks of ``SVC.fit``.

A search on a hundred images fits a thousand small machines. On 70 rows ``SVC.fit`` takes 4 ms, of
which libsvm takes 0.4: the rest checks parameters and input that are the same each time.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Machine(NamedTuple):
    """What ``SVC`` has after a fit, under the same names."""

    classes_: NDArray[np.int64]
    class_weight_: NDArray[np.float64]
    support_: NDArray[np.int32]
    n_support_: NDArray[np.int32]
    dual_coef_: NDArray[np.float64]
    intercept_: NDArray[np.float64]


# None, ``balanced``, or the weight of each class, ascending.
Weights = str | NDArray[np.float64] | None


def fit(
    kernel: NDArray[np.float64], labels: NDArray[np.int64], cost: float, class_weight: Weights
) -> Machine:
    """Fit one-against-one machines to the kernel values of all pairs of rows, ``(n, n)``.

    The values are those of ``SVC(kernel="precomputed")``. scikit-learn's wrapper of libsvm is
    private; where a version has another one, ``SVC`` does the work.
    """
    return (_unchecked if _agree() else _checked)(kernel, labels, cost, class_weight)


@cache
def _agree() -> bool:
    """Return whether both ways give the same machines, tried once on small problems."""
    rng = np.random.default_rng(0)
    try:
        for k in (2, 3):
            labels = np.arange(3 * k + 1) % k
            rows = rng.normal(size=(len(labels), 3)) + labels[:, None]
            for class_weight in (None, "balanced", np.arange(1.0, k + 1)):
                arguments = rows @ rows.T, labels, 1.0, class_weight
                ours, theirs = _unchecked(*arguments)._asdict(), _checked(*arguments)._asdict()
                if not all(np.array_equal(ours[name], theirs[name]) for name in ours):
                    return False
    except (ImportError, AttributeError, TypeError, ValueError):
        return False
    return True


def _unchecked(
    kernel: NDArray[np.float64], labels: NDArray[np.int64], cost: float, class_weight: Weights
) -> Machine:
    from sklearn.svm import _libsvm

    classes, codes = np.unique(labels, return_inverse=True)
    weights = np.ones(len(classes))
    if isinstance(class_weight, np.ndarray):
        weights = class_weight
    elif class_weight is not None:
        weights = len(codes) / (len(classes) * np.bincount(codes).astype(np.float64))
    _libsvm.set_verbosity_wrap(0)
    support, _, n_support, coefficients, intercept, *_ = _libsvm.fit(
        np.ascontiguousarray(kernel),
        codes.astype(np.float64),
        kernel="precomputed",
        C=cost,
        class_weight=weights,
    )
    if len(classes) == 2:  # as `SVC` has them
        coefficients, intercept = -coefficients, -intercept
    return Machine(classes, weights, support, n_support, coefficients, intercept)


def _checked(
    kernel: NDArray[np.float64], labels: NDArray[np.int64], cost: float, class_weight: Weights
) -> Machine:
    from sklearn.svm import SVC

    weights: Any = class_weight
    if isinstance(class_weight, np.ndarray):
        weights = dict(zip(np.unique(labels), class_weight, strict=True))
    model = SVC(kernel="precomputed", C=cost, class_weight=weights).fit(kernel, labels)
    return Machine(*(getattr(model, name) for name in Machine._fields))
