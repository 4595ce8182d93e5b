"""The nearest training images of an image, from the store that the model was trained on."""

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

SIDE = 256  # of a thumbnail's longer side, in pixels


@dataclass(frozen=True)
class Neighbour:
    """A training image: its row in the store, path, class and cosine distance to the query."""

    row: int
    path: str
    label: str
    distance: float


class TrainingImages:
    """The training images of a store, without those at the paths ``tested``."""

    def __init__(self, data: FeatureSet, tested: Collection[str] = ()) -> None:
        labelled = data.is_labelled
        kept = [
            row
            for row, (path, split) in enumerate(zip(data.path, data.split, strict=True))
            if labelled[row] and split != "test" and path not in tested
        ]
        self._index = np.array(kept, np.intp)
        self._rows = normalise(data.features[self._index])
        empty = np.empty((0, data.features.shape[1]), np.float32)
        self._data = dataclasses.replace(data, features=empty)  # frees the other rows

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, row: int) -> bool:
        place = int(np.searchsorted(self._index, row))
        return place < len(self._index) and int(self._index[place]) == row

    @property
    def name(self) -> str:
        """The name of the data set."""
        return self._data.name

    def examples(self) -> dict[str, int]:
        """Return the row of an image of each class, the one closest to the mean of its class."""
        examples = {}
        for code in range(len(self._data.classes)):
            places = np.flatnonzero(self._has(code))
            if not len(places):
                continue
            similarity = self._rows[places] @ self._rows[places].mean(axis=0)
            examples[self._data.classes[code]] = int(self._index[places[similarity.argmax()]])
        return examples

    def _has(self, code: int) -> NDArray[np.bool_]:
        """Return which of the images have a class."""
        sets = self._data.label_sets
        present = self._data.label == code if sets is None else sets[:, code] > 0
        own: NDArray[np.bool_] = present[self._index]
        return own

    def nearest(self, features: NDArray[np.float32], count: int) -> list[Neighbour]:
        """Return the nearest images to ``(d,)`` features, the nearest first."""
        cosine = self._rows @ normalise(features[np.newaxis])[0]
        count = min(count, len(cosine))
        first = np.argpartition(-cosine, count - 1)[:count] if count else np.empty(0, np.intp)
        neighbours = []
        for place in first[np.argsort(-cosine[first], kind="stable")]:
            row = int(self._index[place])
            label = self._data.label_text(row)
            distance = float(1 - cosine[place])
            neighbours.append(Neighbour(row, self._data.path[row], label, distance))
        return neighbours

    def picture(self, row: int) -> bytes | None:
        """Return the thumbnail of a training image as a WebP file, or None if there is none."""
        pixels = thumbnail(self._data, row, SIDE) if row in self else None
        return None if pixels is None else webp(pixels)


def find(
    backbone: Backbone, paths: Sequence[Path], tested: Collection[str] = ()
) -> tuple[TrainingImages | None, str]:
    """Open the first store that holds features of a model's backbone; else return the reason.

    The precision may differ: features in fp16 or int8 have the same nearest images.
    """
    causes = []
    for path in paths:
        try:
            for data in store.read_layers(path):
                if _same(data.extraction["backbone"], backbone):
                    images = TrainingImages(data, tested)
                    empty = f"{one_line(path)} holds no training images"
                    return (images, "") if len(images) else (None, empty)
            causes.append(f"{one_line(path)} holds features of a different backbone")
        except StoreError as error:
            causes.append(str(error))
    unknown = "no feature store of the training images is known; name it with --store"
    return None, "; ".join(causes) or unknown


def _same(facts: dict[str, object], backbone: Backbone) -> bool:
    stored = Backbone.from_json(facts)
    return dataclasses.replace(stored, precision=backbone.precision) == backbone
