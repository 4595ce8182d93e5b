"""The ``SVC`` that a machine on a precomputed kernel is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.heads import ovo
from headstart.heads.libsvm import Machine

if TYPE_CHECKING:
    from sklearn.svm import SVC

PROBES = 8  # rows whose values are compared


def stock(
    machine: Machine, rows: NDArray[np.float32], labels: NDArray[np.int64], params: dict[str, Any]
) -> SVC:
    """Return the ``SVC`` that a machine on the kernel of these rows is.

    ``SVC.fit`` would compute the kernel once more, one inner product at a time. So it is fitted on
    a row of each class, and then gets the machine's solution. Some of its attributes are private;
    where a version has others, its answers tell, and it is fitted on the support vectors.
    """
    from sklearn.svm import SVC

    few = np.unique(labels, return_index=True)[1]
    model = SVC(**params).fit(rows[few].astype(np.float64), labels[few])
    support = machine.support_
    sign = -1.0 if len(machine.classes_) == 2 else 1.0  # of libsvm's own values
    solution = {
        "support_": support,
        "support_vectors_": rows[support].astype(np.float64),
        "dual_coef_": machine.dual_coef_,
        "intercept_": machine.intercept_,
        "class_weight_": machine.class_weight_,
        "shape_fit_": rows.shape,
        "_n_support": machine.n_support_,
        "_dual_coef_": sign * machine.dual_coef_,
        "_intercept_": sign * machine.intercept_,
    }
    if all(hasattr(model, name) for name in solution):
        vars(model).update(solution)
        if _agrees(model, machine, rows[:: -(-len(rows) // PROBES)]):
            return model
    kept = np.sort(support) if params["class_weight"] is None else np.arange(len(rows))
    return SVC(**params).fit(rows[kept], labels[kept])


def _agrees(model: SVC, machine: Machine, rows: NDArray[np.float32]) -> bool:
    """Return whether the values of a model are those of its machine."""
    probes, points = rows.astype(np.float64), model.support_vectors_
    kernel = probes @ points.T
    if model.kernel == "rbf":
        norms = ((each**2).sum(axis=1) for each in (probes, points))
        kernel = np.exp(model.gamma * (2 * kernel - np.add.outer(*norms)))
    model.decision_function_shape = "ovo"
    values = model.decision_function(probes)
    model.decision_function_shape = "ovr"
    expected = ovo.pairs(machine, kernel)
    if len(machine.classes_) == 2:  # positive for the first class there
        expected = -expected
    return bool(np.allclose(values.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4))
