"""Image sources: whatever has labelled images becomes a `Listing`, and `read` returns their bytes.

`open_source` and `stream` (for predicting, image by image) take any source. A kind of source is
one class, see `registry`; those below are built in, and `register` adds others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from headstart.core.records import ImageRef, Listing
from headstart.datasets.bucket import BucketSource
from headstart.datasets.csv_manifest import ManifestSource, read_groups
from headstart.datasets.folder import FolderSource
from headstart.datasets.hdf5 import ArraySource
from headstart.datasets.imagefolder import DescribedFolderSource
from headstart.datasets.images import read_file
from headstart.datasets.inputs import STDIN, stream
from headstart.datasets.listing import describe, location
from headstart.datasets.parquet import TableSource
from headstart.datasets.patterns import PatternSource
from headstart.datasets.reader import ContainerReader, Reader
from headstart.datasets.registry import (
    Container,
    Options,
    Source,
    SourceImage,
    find,
    register,
    unregister,
)
from headstart.datasets.saved_set import SavedSource
from headstart.datasets.storage import State
from headstart.datasets.torchvision_sets import TorchvisionSource
from headstart.datasets.webdataset import ArchiveSource

__all__ = [
    "STDIN",
    "Container",
    "ContainerReader",
    "Options",
    "Reader",
    "Source",
    "SourceImage",
    "describe",
    "location",
    "open_source",
    "read",
    "read_groups",
    "register",
    "state",
    "stream",
    "subset",
    "unregister",
]

for _source in (  # the last one is asked first
    PatternSource(),
    FolderSource(),
    BucketSource(),
    ArraySource(),
    TableSource(),
    ArchiveSource(),
    ManifestSource(),
    DescribedFolderSource(),
    SavedSource(),
    TorchvisionSource(),
):
    register(_source)


def open_source(
    data: str | os.PathLike[str], *, cache: Path | None = None, download: bool = True
) -> Listing:
    """List the images of a source; no image is opened.

    Args:
        data: a folder; a manifest (``.csv`` or ``.tsv``); archives, tables or arrays of images,
            one, a folder of them or a pattern; a URL of a folder or of one of those; or
            ``torchvision:NAME``, with ``@ROOT`` behind it when the set is not in the cache.
        cache: folder of torchvision's data sets; by default in the user's cache folder.
        download: whether a torchvision data set that is missing may be downloaded.

    Raises:
        InputError: there is no such source, it cannot be read, or it has no images.
        OutputError: a torchvision data set cannot be written to its folder.
        HeadstartError: a library that the source needs cannot be imported.
    """
    text = os.fspath(data)
    return find(text).list(text, Options(cache, download))


def read(listing: Listing, ref: ImageRef) -> tuple[bytes, State]:
    """Return the bytes of an image file, and its state: what changes whenever the file does.

    Raises:
        ImageError: it is missing, unreadable, too large, not a regular file, or written to while
            it is read.
    """
    if listing.reader is not None:
        return listing.reader.read(ref.path)
    data, info = read_file(location(listing, ref))
    return data, (info.st_size, info.st_mtime_ns)


def state(listing: Listing, ref: ImageRef) -> State | None:
    """Return the state of an image without reading it; None if it is unknown."""
    if listing.reader is not None:
        return listing.reader.state(ref.path)
    try:
        info = location(listing, ref).stat()
    except OSError:
        return None
    return info.st_size, info.st_mtime_ns


def subset(listing: Listing, numbers: Iterable[int]) -> Listing:
    """Return some images of a listing, by number, as a listing of the same classes."""
    images = tuple(listing.images[number] for number in numbers)
    reader = listing.reader and listing.reader.subset(image.path for image in images)
    return replace(listing, images=images, reader=reader)
