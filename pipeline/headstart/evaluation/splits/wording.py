"""Counts and names of classes in warnings and errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import one_line
from headstart.core.records import FeatureSet

NAMED = 3  # classes that a message names; the others are counted


def class_names(data: FeatureSet, codes: Sequence[int] | NDArray[np.intp]) -> str:
    """Name up to three classes, and count the others."""
    shown = ", ".join(one_line(data.classes[code]) for code in codes[:NAMED])
    return shown if len(codes) <= NAMED else f"{shown} and {len(codes) - NAMED:,} more classes"


def utf8(text: str) -> str:
    """Escape lone surrogates, which a JSON reader may reject."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
