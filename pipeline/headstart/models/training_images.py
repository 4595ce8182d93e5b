"""Which images a classifier was trained on, as hashes in its metadata: evaluations warn of them.

A hash is the first six bytes of the SHA-256 of an image file. For a million training images, one
in three hundred million other images has the hash of one by chance.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEY = "headstart.training_images"  # in the file's metadata
BYTES = 6  # of a hash


@dataclass(frozen=True)
class TrainingImages:
    """The training images of a classifier; ``digest in images`` asks by a file's SHA-256."""

    hashes: frozenset[bytes]

    def __contains__(self, sha256: bytes) -> bool:
        return sha256[:BYTES] in self.hashes

    def __len__(self) -> int:
        return len(self.hashes)


def encode(sha256: NDArray[np.uint8]) -> str:
    """Return hashes ``(n, 32)`` as the text in the metadata: 8 characters an image."""
    short = np.unique(np.ascontiguousarray(sha256[:, :BYTES]), axis=0)
    return base64.b64encode(short.tobytes()).decode("ascii")


def read(metadata: Mapping[str, str]) -> TrainingImages | None:
    """Return the training images that a file's metadata name; None if they name none.

    A text that is no list of hashes is a ``ValueError``.
    """
    if KEY not in metadata:
        return None
    try:
        data = base64.b64decode(metadata[KEY], validate=True)
    except binascii.Error as error:
        raise ValueError(f"{KEY} is no list of hashes: {error}") from error
    if len(data) % BYTES:
        raise ValueError(f"{KEY} ends within a hash")
    hashes = (data[start : start + BYTES] for start in range(0, len(data), BYTES))
    return TrainingImages(frozenset(hashes))
