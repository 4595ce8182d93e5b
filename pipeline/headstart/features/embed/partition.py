"""Dividing a listing into shards: runs of consecutive images.

The paths decide where a shard ends, not a count (content-defined chunking; Muthitacharoen et al., A
Low-bandwidth Network File System, 2001). An added or removed image changes only its own shard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from headstart.core.records import ImageRef, Listing

SHARD_SIZE = 4096  # images: 18 MB of features at 1,280, some minutes of one core
_SMALLEST = 256
_SHARDS_EACH = 8  # shards a worker of a small listing, so that all end at about the same time
_DIGEST = 8


@dataclass(frozen=True)
class Part:
    """Consecutive images of a listing; ``key`` stays the same while the first image does."""

    key: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def shard_size(images: int, workers: int) -> int:
    """Return how many images a shard should have, approximately.

    >>> shard_size(10_000_000, 100), shard_size(3781, 2), shard_size(90, 2)
    (4096, 256, 256)
    """
    return max(_SMALLEST, min(SHARD_SIZE, images // (_SHARDS_EACH * workers)))


def divide(images: Sequence[ImageRef], size: int) -> Iterator[Part]:
    """Yield the shards of a listing, in order, with about ``size`` images each.

    Each has half to twice the size, except the last. Beyond half the size, a shard ends before an
    image whose path has a hash that is divisible by half the size.
    """
    least, most = max(1, size // 2), max(1, 2 * size)
    start, key = 0, "first"
    for number, image in enumerate(images):
        count = number - start
        if count < least:
            continue
        value = _hash(image.path)
        if count == most or value % least == 0:
            yield Part(key, start, number)
            start, key = number, f"{value:016x}"
    if start < len(images):
        yield Part(key, start, len(images))


def listing_digest(listing: Listing) -> str:
    """Return the SHA-256 of everything that a listing says about its images."""
    total, images = hashlib.sha256(), iter(listing.images)
    while lines := "".join(map(_line, islice(images, SHARD_SIZE))):
        total.update(lines.encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _line(image: ImageRef) -> str:
    label = "" if image.label is None else f"={image.label}"
    if image.labels is not None:
        label = repr((image.labels.present, image.labels.unknown))
    origin = f"\0{image.origin}" if image.origin else ""
    return f"{image.path}\0{label}\0{image.split}{origin}\n"


def _hash(path: str) -> int:
    data = path.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(data, digest_size=_DIGEST).digest(), "little")
