"""Batches of training inputs, from an activation store or from the image files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.core.errors import ImageError, InputError, one_line
from headstart.core.parallel import available_cores
from headstart.features.store.activations import ActivationReader, View
from headstart.finetune.photos import Photo, read_again
from headstart.finetune.views import Augment

AHEAD = 4  # batches read while one is trained on

Batch = tuple[torch.Tensor, torch.Tensor]


class LabelledPhotos(NamedTuple):
    """Images and their targets, ``(n,)`` or ``(n, k)``: see the objective of the target type."""

    photos: Sequence[Photo]
    targets: NDArray[Any]


@dataclass
class Batches(ABC):
    """Batches of inputs and targets.

    Every epoch shuffles the training images, by ``seed``; validation images keep their order.
    ``workers`` threads read; None means one per core.
    """

    training: LabelledPhotos
    validating: LabelledPhotos
    seed: int
    workers: int | None

    def steps(self, size: int) -> int:
        """Return how many batches an epoch has."""
        return -(-len(self.training.photos) // size)

    def train(self, epoch: int, size: int) -> Iterator[Batch]:
        """Yield every training image once, in an order set by seed and epoch."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.training.photos))
        return self._ahead(self.training, epoch, order, size)

    def validation(self, size: int) -> Iterator[Batch]:
        """Yield the validation images, in order."""
        return self._ahead(self.validating, 0, np.arange(len(self.validating.photos)), size)

    def _ahead(
        self, part: LabelledPhotos, epoch: int, order: NDArray[np.intp], size: int
    ) -> Iterator[Batch]:
        """Yield batches in order, read on threads a few ahead."""
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(self.workers or available_cores()) as pool:
            try:
                for start in range(0, len(order), size):
                    rows = order[start : start + size]
                    waiting.append(pool.submit(self._batch, part, epoch, rows))
                    if len(waiting) > AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _batch(self, part: LabelledPhotos, epoch: int, rows: NDArray[np.intp]) -> Batch:
        inputs = self._inputs([part.photos[row] for row in rows], epoch)
        return inputs, torch.from_numpy(part.targets[rows])

    @abstractmethod
    def _inputs(self, photos: Sequence[Photo], epoch: int) -> torch.Tensor:
        """Return the network's inputs for some images; epoch 0 is validation."""


@dataclass
class StoredBatches(Batches):
    """Batches of ``(n, d) float16`` activations; every epoch shows another view of each image.

    HDF5 takes one thread at a time.
    """

    store: ActivationReader
    workers: int | None = field(default=1, init=False)

    def _inputs(self, photos: Sequence[Photo], epoch: int) -> torch.Tensor:
        rows = [self.store.index[View(photo.sha256, self._view(photo, epoch))] for photo in photos]
        return torch.from_numpy(self.store.read(rows))

    def _view(self, photo: Photo, epoch: int) -> int:
        """Return the view to show: an image cycles through its views in its own random order."""
        if not epoch:
            return 0
        turn, index = divmod(epoch - 1, photo.views)
        word = [self.seed, turn, *np.frombuffer(photo.sha256[:8], np.uint32).tolist()]
        return int(np.random.default_rng(word).permutation(photo.views)[index])


@dataclass
class PhotoBatches(Batches):
    """Batches of ``(n, 3, h, w) float32`` pixels from 0 to 1, augmented anew in every epoch."""

    augment: Augment

    def _inputs(self, photos: Sequence[Photo], epoch: int) -> torch.Tensor:
        crops = np.stack([self._crop(photo, epoch) for photo in photos])
        return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255

    def _crop(self, photo: Photo, epoch: int) -> NDArray[np.uint8]:
        data = read_again(photo)
        try:
            if not epoch:
                return self.augment.plain(data)
            return self.augment.view(self.augment.whole(data), photo.sha256, epoch)
        except ImageError as error:
            raise InputError(f"{one_line(photo.ref.path)}: {error}") from error
