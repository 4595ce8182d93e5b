"""Heads for several labels on one image, under the names of the heads for one class.

Each label is a binary problem, as in scikit-learn's ``OneVsRestClassifier``; what the labels can
share, they share. Families are imported on first use.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from headstart.heads import MEAN

if TYPE_CHECKING:
    from headstart.heads.multilabel.family import LabelFamily

# Module and class by name; ties go to the first, so simple models come first.
_FAMILIES = {
    "logistic-regression": ("logistic", "LogisticRegressionLabels"),
    "linear-svm": ("svm", "LinearSVMLabels"),
    "rbf-svm": ("svm", "RbfSVMLabels"),
    "kernel-ridge": ("kernel_ridge", "KernelRidgeLabels"),
    "knn": ("knn", "NearestNeighboursLabels"),
}
NAMES = tuple(_FAMILIES)


def by_name(names: Iterable[str]) -> list[LabelFamily]:
    """Return the families with these names, in this order, without repeats or the mean of heads."""
    families = []
    for name in dict.fromkeys(name for name in names if name != MEAN):
        module, kind = _FAMILIES[name]
        families.append(getattr(importlib.import_module(f"{__name__}.{module}"), kind)())
    return families


def to_onnx(estimator: Any, dim: int) -> Any:  # noqa: ANN401 - ModelProto
    """Convert a fitted head to a graph from ``X``, ``(n, dim) float32``, to ``scores``.

    The scores, ``(n, k) float32``, are the probabilities of the labels.
    """
    from headstart.heads.onnx_graphs import multilabel

    return multilabel.convert(estimator, dim)
