"""The images of a training: where to read each one, and a check that it has not changed."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from headstart import datasets
from headstart.core.errors import HeadstartError, InputError, one_line
from headstart.core.records import ImageRef, Listing


class Photo(NamedTuple):
    """An image, the SHA-256 of its bytes when it was embedded, and its number of cached views."""

    listing: Listing
    ref: ImageRef
    sha256: bytes
    views: int


def read_again(photo: Photo) -> bytes:
    """Return the bytes of an image that was embedded before.

    Raises:
        InputError: the image cannot be read, or its bytes have changed.
    """
    name = one_line(photo.ref.path)
    try:
        data, _ = datasets.read(photo.listing, photo.ref)
    except HeadstartError as error:
        raise InputError(f"{name}: {error}; run the command again") from error
    if hashlib.sha256(data).digest() != photo.sha256:
        raise InputError(f"{name} has changed since it was embedded; run the command again")
    return data
