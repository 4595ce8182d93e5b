"""Image sources: list anything that holds labelled images, and read the bytes of its images.

`open_source` and `stream` (one image at a time, for prediction) accept any source. Each kind of
source is one class, see `registry`. The kinds below are built in; `register` adds your own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from headstart.core.errors import InputError
from headstart.core.records import ImageRef, Listing
from headstart.core.targets import MULTI_LABEL, SINGLE_LABEL
from headstart.datasets import copies
from headstart.datasets.annotations import CocoSource, VocSource
from headstart.datasets.bucket import BucketSource
from headstart.datasets.csv_manifest import ManifestSource, read_groups, read_labels
from headstart.datasets.cvat import CvatSource
from headstart.datasets.fiftyone import FiftyOneSource
from headstart.datasets.folder import FolderSource
from headstart.datasets.hdf5 import ArraySource
from headstart.datasets.image_table import without_labels
from headstart.datasets.images import read_file
from headstart.datasets.inputs import STDIN, stream
from headstart.datasets.label_studio import LabelStudioSource
from headstart.datasets.listing import describe, location
from headstart.datasets.origins import unchanged
from headstart.datasets.parquet import TableSource
from headstart.datasets.patterns import PatternSource
from headstart.datasets.reader import ContainerReader, Reader
from headstart.datasets.registry import (
    DEFAULTS,
    Container,
    Options,
    Source,
    SourceImage,
    find,
    refuse_columns,
    register,
    unregister,
)
from headstart.datasets.saved_set import SavedSource
from headstart.datasets.storage import State
from headstart.datasets.summary import check_labels, summary
from headstart.datasets.torchvision_sets import TorchvisionSource
from headstart.datasets.webdataset import ArchiveSource

__all__ = [
    "DEFAULTS",
    "STDIN",
    "Container",
    "ContainerReader",
    "Options",
    "Reader",
    "Source",
    "SourceImage",
    "check_labels",
    "describe",
    "location",
    "open_source",
    "read",
    "read_groups",
    "read_labels",
    "register",
    "state",
    "stream",
    "subset",
    "summary",
    "unchanged",
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
    SavedSource(),
    CocoSource(),
    FiftyOneSource(),
    LabelStudioSource(),
    CvatSource(),
    VocSource(),
    TorchvisionSource(),
):
    register(_source)


def open_source(data: str | os.PathLike[str], options: Options = DEFAULTS) -> Listing:
    """List the images of a source without opening them.

    ``data`` is a folder; a manifest (``.csv`` or ``.tsv``); archives, tables or arrays of images
    (a file, a folder of files or a pattern); the URL of a folder or of any of these; or
    ``torchvision:NAME``. Missing torchvision data sets are downloaded to ``options.cache``;
    ``torchvision:NAME@ROOT`` names another folder. Without ``options.labels`` no image has a label.

    Raises:
        InputError: there is no such source, it cannot be read, has no images, or can be read in two
            ways.
    """
    text = os.fspath(data)
    source = find(text)
    if not isinstance(source, Container | FolderSource | BucketSource | PatternSource):
        refuse_columns(source, text, options)
    listing = source.list(text, options)
    if not options.labels:
        images = without_labels(listing.images)
        return replace(listing, images=images, classes=(), problem="", hint="", target=SINGLE_LABEL)
    if listing.problem:
        raise InputError(listing.problem)
    if options.target == MULTI_LABEL and listing.target != MULTI_LABEL:
        return copies.with_label_sets(listing)
    return listing


def read(listing: Listing, ref: ImageRef) -> tuple[bytes, State]:
    """Return the bytes of an image file, and its state, which changes whenever the file does.

    Raises:
        ImageError: the image is missing, too large, or cannot be read.
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
    """Return the images with these numbers as a listing of the same classes."""
    images = tuple(listing.images[number] for number in numbers)
    reader = listing.reader and listing.reader.subset(image.path for image in images)
    return replace(listing, images=images, reader=reader)
