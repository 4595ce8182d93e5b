"""Fitted heads as files for scikit-learn users; Headstart itself reads none of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headstart.core.choices import HEAD_FORMATS
from headstart.core.errors import missing_extra
from headstart.core.files import replacing

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

SAFE, UNSAFE = KINDS = HEAD_FORMATS


def save(estimator: BaseEstimator, folder: Path, kind: str) -> Path:
    """Write a fitted head as ``head.skops`` or ``head.joblib``.

    Loading a joblib file runs whatever code is in it. A skops file holds data and names of types,
    and you say which types to trust.

    Raises:
        HeadstartError: skops is not installed.
        OutputError: the file cannot be written.
    """
    path = folder / f"head.{kind}"
    if kind == SAFE:
        try:
            from skops.io import dump
        except ImportError:
            raise missing_extra("skops", "skops") from None
    else:
        from joblib import dump
    with replacing(path) as partial:
        dump(estimator, partial)
    return path
