"""A feature store as an object, for use as a library."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.core.records import FeatureSet
from headstart.features import store


class FeatureStore:
    """The features of a folder of images, as ``headstart features`` wrote them.

    Args:
        path: the HDF5 file. It is read, whole, when something of it is asked for.

    Raises:
        StoreError: on reading, if it is missing, damaged or no feature store.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"FeatureStore({str(self.path)!r})"

    def __len__(self) -> int:
        return len(self.rows.path)

    @cached_property
    def rows(self) -> FeatureSet:
        """Everything in it; what `headstart.evaluation.compare` takes."""
        return store.read(self.path)

    @property
    def features(self) -> NDArray[np.float32]:
        """``(n, d)``, a row an image."""
        features = self.rows.features
        assert isinstance(features, np.ndarray)  # `store.read` leaves nothing on disk
        return features

    @property
    def paths(self) -> list[str]:
        """The images' names, relative to their source."""
        return self.rows.path

    @property
    def labels(self) -> list[str | None]:
        """The images' classes; None where unknown."""
        names = self.rows.classes
        return [names[code] if code >= 0 else None for code in self.rows.label.tolist()]

    @property
    def splits(self) -> list[str]:
        """``train``, ``validation``, ``test`` or empty."""
        return self.rows.split

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names."""
        return self.rows.classes
