"""The families of heads, by name. Sole owner of scikit-learn, which loads when a search runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from headstart.core.errors import InputError, one_line
from headstart.heads.knn import NearestNeighboursHead
from headstart.heads.logistic import LogisticRegressionHead
from headstart.heads.search import Family
from headstart.heads.svm import LinearSVMHead, RbfSVMHead

_FAMILIES: tuple[Family, ...] = (
    LogisticRegressionHead(),
    LinearSVMHead(),
    RbfSVMHead(),
    NearestNeighboursHead(),
)
HEADS: dict[str, Family] = {family.name: family for family in _FAMILIES}


def by_name(names: Iterable[str]) -> list[Family]:
    """Return the families with these names, in the order given, each once.

    Raises:
        InputError: a name is unknown, or there is none.
    """
    chosen = list(dict.fromkeys(names))
    if not chosen:
        raise InputError(f"no head was named; choose among {', '.join(HEADS)}")
    for name in chosen:
        if name not in HEADS:
            near = difflib.get_close_matches(name, HEADS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose among {', '.join(HEADS)}"
            raise InputError(f"there is no head named {one_line(name)}; {hint}")
    return [HEADS[name] for name in chosen]
