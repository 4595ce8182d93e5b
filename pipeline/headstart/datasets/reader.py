"""Images that are no files of their own: in archives, in tables, in arrays, behind a URL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from headstart.core.records import ImageRef, Listing
from headstart.datasets.listing import make_listing
from headstart.datasets.storage import State


class Reader(Protocol):
    """Gives the content of images by their path in the listing; can be pickled."""

    def state(self, path: str) -> State | None:
        """Return the state of an image without reading it; None if that cannot be told."""

    def read(self, path: str) -> tuple[bytes, State]:
        """Return the bytes of an image file, and its state.

        Raises:
            ImageError: it cannot be read.
        """

    def only(self, paths: Iterable[str]) -> Reader:
        """Return a reader of these images alone."""


@dataclass(frozen=True)
class HeldListing(Listing):
    """A listing whose images a reader holds."""

    reader: Reader


def make_held(
    reader: Reader, images: Iterable[ImageRef], ignored: Mapping[str, int], name: str
) -> HeldListing:
    """Put images in order, as `make_listing` does, with the reader that holds them."""
    plain = make_listing(Path(), images, ignored, name)
    return HeldListing(plain.root, plain.images, plain.classes, plain.ignored, plain.name, reader)


def reader(listing: Listing, images: Iterable[ImageRef]) -> Reader | None:
    """Return what holds some images of a listing; None if they are files of their own."""
    if isinstance(listing, HeldListing):
        return listing.reader.only(image.path for image in images)
    return None


def listed(
    root: Path,
    images: Sequence[ImageRef],
    classes: tuple[str, ...],
    name: str,
    reader: Reader | None,
) -> Listing:
    """Return the listing of images that are files, or that a reader holds."""
    if reader is None:
        return Listing(root, images, classes, {}, name)
    return HeldListing(root, images, classes, {}, name, reader)


def part(listing: Listing, numbers: Iterable[int]) -> Listing:
    """Return some images of a listing, by number, as a listing of the same classes."""
    images = tuple(listing.images[number] for number in numbers)
    if isinstance(listing, HeldListing):
        reader = listing.reader.only(image.path for image in images)
        return replace(listing, images=images, reader=reader)
    return replace(listing, images=images)
