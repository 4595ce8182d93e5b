"""The training images that are nearest to an image, from the store that the model was made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.core.errors import StoreError, one_line
from headstart.core.linalg import normalise
from headstart.core.records import Backbone, FeatureSet
from headstart.datasets.images.thumbnails import thumbnail, webp
from headstart.features import store

SIDE = 96  # of a thumbnail, in pixels


@dataclass(frozen=True)
class Neighbour:
    """One training image.

    Attributes:
        row: its number in the store.
        path: its name, relative to the source of the store.
        label: its class.
        distance: the cosine distance to the image that was asked about.
    """

    row: int
    path: str
    label: str
    distance: float


class TrainingImages:
    """The labelled images of a store that were trained on.

    Args:
        data: the store.
        tested: paths of images that were not trained on, whatever their split is called.
    """

    def __init__(self, data: FeatureSet, tested: Collection[str] = ()) -> None:
        kept = [
            row
            for row, (path, split) in enumerate(zip(data.path, data.split, strict=True))
            if data.label[row] >= 0 and split != "test" and path not in tested
        ]
        self._at = np.array(kept, np.intp)
        self._rows = normalise(data.features[self._at])
        empty = np.empty((0, data.features.shape[1]), np.float32)
        self._data = dataclasses.replace(data, features=empty)  # the others need no memory

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, row: int) -> bool:
        at = int(np.searchsorted(self._at, row))
        return at < len(self._at) and int(self._at[at]) == row

    def nearest(self, features: NDArray[np.float32], count: int) -> list[Neighbour]:
        """Return the nearest images to ``(d,)`` features, the nearest first."""
        cosine = self._rows @ normalise(features[np.newaxis])[0]
        count = min(count, len(cosine))
        first = np.argpartition(-cosine, count - 1)[:count] if count else np.empty(0, np.intp)
        found = []
        for at in first[np.argsort(-cosine[first], kind="stable")]:
            row = int(self._at[at])
            label = self._data.classes[self._data.label[row]]
            found.append(Neighbour(row, self._data.path[row], label, float(1 - cosine[at])))
        return found

    def picture(self, row: int) -> bytes | None:
        """Return a training image as a small WebP file, or None where there is none of it."""
        pixels = thumbnail(self._data, row, SIDE) if row in self else None
        return None if pixels is None else webp(pixels)


def find(
    backbone: Backbone, paths: Sequence[Path], tested: Collection[str] = ()
) -> tuple[TrainingImages | None, str]:
    """Look for the store of a model's features among these, and say why if there is none.

    The arithmetic may be another one: features in fp16 or int8 are near the same images.

    Args:
        backbone: the model's.
        paths: stores that may hold the training images; they may be gone.
        tested: as in `TrainingImages`.
    """
    causes = []
    for path in paths:
        try:
            for data in store.read_layers(path):
                if _same(data.extraction["backbone"], backbone):
                    found = TrainingImages(data, tested)
                    return (found, "") if len(found) else (None, f"{one_line(path)} holds none")
            causes.append(f"{one_line(path)} holds features of another network")
        except StoreError as error:
            causes.append(str(error))
    return None, "; ".join(causes) or "no store is known; name it with --store"


def _same(facts: dict[str, object], backbone: Backbone) -> bool:
    held = Backbone.from_json(facts)
    return dataclasses.replace(held, precision=backbone.precision) == backbone
