"""The registry of head families.

Families are imported on first use, so names and titles cost no import of numpy or scikit-learn.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from headstart.core.errors import InputError, one_line

if TYPE_CHECKING:
    from headstart.heads.family import Family

# Module and class by name; ties go to the first, so simple models come first.
_BUILT_IN = {
    "logistic-regression": ("logistic", "LogisticRegressionHead"),
    "linear-svm": ("svm", "LinearSVMHead"),
    "rbf-svm": ("svm", "RbfSVMHead"),
    "kernel-ridge": ("kernel_ridge", "KernelRidgeHead"),
    "knn": ("knn", "NearestNeighboursHead"),
}
MEAN = "mean-of-heads"  # no family, but made of the others: see `headstart.heads.mean`


class _Registry(Mapping[str, "Family"]):
    def __init__(self) -> None:
        self._loaded: dict[str, Family] = {}
        self._names = dict.fromkeys(_BUILT_IN)

    def __getitem__(self, name: str) -> Family:
        if name not in self._loaded:
            module, kind = _BUILT_IN[name]
            self._loaded[name] = getattr(importlib.import_module(f"{__name__}.{module}"), kind)()
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def add(self, family: Family) -> None:
        self._loaded[family.name] = family
        self._names[family.name] = None

    def remove(self, name: str) -> None:
        del self._loaded[name], self._names[name]


HEADS = _Registry()


def register(family: Family) -> None:
    """Add a family of heads, which `train-heads` and `CompareConfig` then know by its name.

    Raises:
        InputError: the name is taken.
    """
    if family.name in (*HEADS, MEAN):
        raise InputError(f"a head named {one_line(family.name)} exists; choose another name")
    HEADS.add(family)


def unregister(name: str) -> None:
    """Remove a family that `register` added."""
    HEADS.remove(name)


def default_heads() -> tuple[str, ...]:
    """Return the names of the heads that are trained by default."""
    return tuple(HEADS)


def by_name(names: Iterable[str]) -> list[Family]:
    """Return the families with these names, in this order, without repeats or `MEAN`."""
    check_names(names := list(names))
    return [HEADS[name] for name in dict.fromkeys(names) if name != MEAN]


def check_names(names: Iterable[str]) -> None:
    """Check the names of heads without importing any family.

    Raises:
        InputError: a name is unknown, there is none, or fewer than two have a mean.
    """
    names, heads = list(names), (*HEADS, MEAN)
    if not names:
        raise InputError(f"no head was named; choose among {', '.join(heads)}")
    for name in names:
        if name not in heads:
            near = difflib.get_close_matches(name, heads, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose among {', '.join(heads)}"
            raise InputError(f"there is no head named {one_line(name)}; {hint}")
    if MEAN in names and len({*names}) < 3:
        raise InputError(f"{MEAN} averages other heads; name two or more of them with it")


def to_onnx(name: str, estimator: Any, dim: int) -> Any:  # noqa: ANN401 - ModelProto
    """Convert a fitted head as its family does, or with skl2onnx if the name is no family's."""
    if name in HEADS:
        return HEADS[name].to_onnx(estimator, dim)
    if name == MEAN:
        from headstart.heads.onnx_graphs import mean

        graphs = [to_onnx(each, member, dim) for each, member in estimator.estimators]
        return mean.joined(graphs, dim, len(estimator.classes_))
    from headstart.heads.onnx_graphs import stock

    return stock.convert(estimator, dim)
