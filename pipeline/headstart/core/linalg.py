"""Linear algebra on rows of features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def normalise(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows, ``(n, d)``, with Euclidean norm 1; a row of zeros stays."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (rows / np.where(norms > 0, norms, 1)).astype(np.float32)
    return unit
