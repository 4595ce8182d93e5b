"""What a model file says of its training, and the head that goes into it, by target type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.core.rows import content_hash, take

if TYPE_CHECKING:
    from headstart.core.records import FeatureSet


def training_hashes(data: FeatureSet, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Return ``(n, 32)`` hashes of training images; of imported features, hashes of the rows."""
    if not data.is_imported:
        return data.sha256[rows]
    # Beside stores of images, the hashes of the set are those of the images.
    hashes = b"".join(map(content_hash, take(data.features, rows)[:]))
    return np.frombuffer(hashes, np.uint8).reshape(len(rows), -1)
