"""Augmented views of an image: torchvision's random crop, flip and colour jitter, from a seed."""

from __future__ import annotations

import hashlib
import threading

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.core.records import Preprocess
from headstart.core.torchvision_import import import_torchvision
from headstart.datasets import images

SCALE = (0.5, 1.0)  # share of the image's area in a crop
RATIO = (0.8, 1.25)
COLOUR = 0.2  # largest change of brightness, contrast and saturation
VERSION = 1  # of this recipe; part of an activation store's identity

_DRAWING = threading.Lock()  # torchvision draws from torch's one generator


class Augment:
    """Computes views; threads may share an instance.

    Views have the crop size and interpolation of ``preprocess``. Equal seed, image bytes and view
    number give equal views.
    """

    def __init__(self, preprocess: Preprocess, seed: int) -> None:
        v2 = import_torchvision("transforms.v2")
        self._preprocess, self._seed = preprocess, seed
        modes = v2.InterpolationMode
        exact = {"nearest": modes.NEAREST, "bilinear": modes.BILINEAR}
        mode = exact.get(preprocess.interpolation, modes.BICUBIC)
        self._crop = v2.RandomResizedCrop(
            preprocess.size, scale=SCALE, ratio=RATIO, interpolation=mode, antialias=True
        )
        self._flip = v2.RandomHorizontalFlip()
        self._colour = v2.ColorJitter(COLOUR, COLOUR, COLOUR)

    def plain(self, data: bytes) -> NDArray[np.uint8]:
        """Return view 0: the crop that the backbone is evaluated on."""
        return images.decode(data, self._preprocess)

    def whole(self, data: bytes) -> NDArray[np.uint8]:
        """Return the image that `view` takes crops of."""
        return images.decode_whole(data, self._preprocess)

    def view(self, whole: NDArray[np.uint8], sha256: bytes, number: int) -> NDArray[np.uint8]:
        """Return a random view, ``(h, w, 3) uint8``, of an image from `whole`.

        ``sha256`` is of the image's bytes; ``number`` is above 0, since view 0 is `plain`.
        """
        # A copy, because torch needs writable memory, and some images are read-only.
        image = torch.from_numpy(whole.copy()).permute(2, 0, 1)
        word = f"{self._seed} {number} {sha256.hex()}".encode()
        seed = int.from_bytes(hashlib.blake2b(word, digest_size=7).digest(), "little")
        with _DRAWING, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            crop = self._crop.make_params([image])
            flipped = bool(torch.rand(()) < self._flip.p)
            colour = self._colour.make_params([image])
        view = self._crop.transform(image, crop)
        if flipped:
            view = self._flip.transform(view, {})
        view = self._colour.transform(view, colour)
        array: NDArray[np.uint8] = view.permute(1, 2, 0).contiguous().numpy()
        return array
